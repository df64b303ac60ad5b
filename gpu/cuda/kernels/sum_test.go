package kernels

import (
	"os"
	"testing"
)

// The images were made of the sources that are here.
func TestImagesAreCurrent(t *testing.T) {
	want, err := Sum(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("images/sources.sum")
	if err != nil {
		t.Fatal(err)
	}
	if want == "" || string(got) != want {
		t.Errorf("the kernels changed since they were compiled: run make cuda-kernels.\nimages were made of\n%swhat is here is\n%s", got, want)
	}
}
