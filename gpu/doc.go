// Package gpu is the contract between compiled programs and the devices that run them.
//
// A [Program] comes in: one arena size and a list of launches, each a row of the kernel table
// with operands that are offsets into the arena. A [Device] loads the program (it allocates the
// arena, once), copies named buffers in and out and runs segments of the launch list.
//
// What a kernel means is written here and only here: its formula, shape rule, FLOPs, scratch
// bytes and which outputs may share storage with which inputs. Package ref executes the formulas
// in float64, package gputest holds every other device to it.
package gpu
