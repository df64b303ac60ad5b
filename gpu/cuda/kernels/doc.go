// Package kernels holds the CUDA sources, a family a file, and what they compile to.
package kernels
