terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}
variable "endpoint" {}

variable "timeout" { default = 8 }

provider "aws" {
  region                      = "us-east-1"
  access_key                  = "test"
  secret_key                  = "test"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  endpoints { lambda = var.endpoint }
}
resource "aws_lambda_layer_version" "libs" {
  layer_name          = "tf-libs"
  filename            = "code.zip"
  compatible_runtimes = ["nodejs22.x"]
}
resource "aws_lambda_function" "f" {
  function_name    = "tf-f"
  role             = "arn:aws:iam::000000000000:role/r"
  handler          = "index.handler"
  runtime          = "nodejs22.x"
  filename         = "code.zip"
  source_code_hash = filebase64sha256("code.zip")
  publish          = true
  layers           = [aws_lambda_layer_version.libs.arn]
  timeout          = var.timeout
  environment { variables = { KEY = "v" } }
  tags = { team = "x" }
}
resource "aws_lambda_alias" "live" {
  name             = "live"
  function_name    = aws_lambda_function.f.function_name
  function_version = aws_lambda_function.f.version
}
resource "aws_lambda_permission" "s3" {
  statement_id  = "s3"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.f.function_name
  principal     = "s3.amazonaws.com"
  qualifier     = aws_lambda_alias.live.name
}
resource "aws_lambda_function_url" "u" {
  function_name      = aws_lambda_function.f.function_name
  authorization_type = "NONE"
}
resource "aws_lambda_function_event_invoke_config" "e" {
  function_name          = aws_lambda_function.f.function_name
  maximum_retry_attempts = 0
}
resource "aws_lambda_event_source_mapping" "q" {
  event_source_arn = "arn:aws:sqs:us-east-1:000000000000:q"
  function_name    = aws_lambda_function.f.arn
  batch_size       = var.timeout
}
