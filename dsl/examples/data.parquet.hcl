data "parquet" "wikipedia" {
  source      = "wikipedia/20231101.en/*.parquet"
  text_column = "text"
  id_column   = "url"
  filter      = "title != null"
}
