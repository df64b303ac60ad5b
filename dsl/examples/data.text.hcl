data "text" "books" {
  source    = "gutenberg/*.txt"
  separator = "\n\n\n" # without it, each file is one document
}
