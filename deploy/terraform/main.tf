# The AWS side of Cloakroom for photos (S4): a bucket that nobody reads without a signature, encrypted with a key of its own,
# with lifecycle and access log; CloudFront before it; a queue that the bucket fills; roles for backend and worker.
#
#     terraform init && terraform plan -var bucket=complaint-photos -var cloudfront_public_key_file=cloudfront.pub.pem
#
# The policies are the documents of ../iam, with their names filled in.

terraform {
  required_version = ">= 1.6"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.0"
    }
  }
}

data "aws_caller_identity" "current" {}

locals {
  names = {
    bucket       = var.bucket
    account      = data.aws_caller_identity.current.account_id
    region       = var.region
    key_arn      = aws_kms_key.attachments.arn
    queue_arn    = aws_sqs_queue.uploads.arn
    distribution = aws_cloudfront_distribution.photos.arn
  }
}

# The key of all attachments, and nothing else.
resource "aws_kms_key" "attachments" {
  description             = "Attachments of complaints"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "Administration"
        Effect    = "Allow"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.current.account_id}:root" }
        Action    = "kms:*"
        Resource  = "*"
      },
      {
        Sid       = "CloudFrontReads"
        Effect    = "Allow"
        Principal = { Service = "cloudfront.amazonaws.com" }
        Action    = "kms:Decrypt"
        Resource  = "*"
        Condition = { StringEquals = { "AWS:SourceAccount" = data.aws_caller_identity.current.account_id } }
      },
    ]
  })
}

resource "aws_kms_alias" "attachments" {
  name          = "alias/${var.bucket}-attachments"
  target_key_id = aws_kms_key.attachments.key_id
}

resource "aws_s3_bucket" "photos" {
  bucket = var.bucket
}

resource "aws_s3_bucket_public_access_block" "photos" {
  bucket                  = aws_s3_bucket.photos.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "photos" {
  bucket = aws_s3_bucket.photos.id
  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

# What is written without saying how is encrypted with the key; the bucket policy refuses whoever asks for anything else.
resource "aws_s3_bucket_server_side_encryption_configuration" "photos" {
  bucket = aws_s3_bucket.photos.id
  rule {
    bucket_key_enabled = true
    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.attachments.arn
    }
  }
}

resource "aws_s3_bucket" "log" {
  bucket = "${var.bucket}-access-log"
}

resource "aws_s3_bucket_public_access_block" "log" {
  bucket                  = aws_s3_bucket.log.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_policy" "log" {
  bucket = aws_s3_bucket.log.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "logging.s3.amazonaws.com" }
      Action    = "s3:PutObject"
      Resource  = "${aws_s3_bucket.log.arn}/*"
      Condition = { ArnLike = { "aws:SourceArn" = aws_s3_bucket.photos.arn } }
    }]
  })
}

resource "aws_s3_bucket_lifecycle_configuration" "log" {
  bucket = aws_s3_bucket.log.id
  rule {
    id     = "expire"
    status = "Enabled"
    filter {}
    expiration {
      days = 90
    }
  }
}

resource "aws_s3_bucket_logging" "photos" {
  bucket        = aws_s3_bucket.photos.id
  target_bucket = aws_s3_bucket.log.id
  target_prefix = "${var.bucket}/"
}

# "Glacier IA" of the founding document is no storage class: GLACIER_IR answers at once, which downloads need. Cloakroom adds
# its own rules (cloakroom-...) at its start unless s3.bootstrap is false; then the rule for staging/ below is the net.
resource "aws_s3_bucket_lifecycle_configuration" "photos" {
  bucket = aws_s3_bucket.photos.id

  rule {
    id     = "cool-down"
    status = "Enabled"
    filter {
      prefix = "complaints/"
    }
    transition {
      days          = var.infrequent_access_days
      storage_class = "STANDARD_IA"
    }
    transition {
      days          = var.archive_days
      storage_class = var.archive_class
    }
  }

  rule {
    id     = "staging"
    status = "Enabled"
    filter {
      prefix = "staging/"
    }
    expiration {
      days = 9
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 9
    }
  }
}

resource "aws_s3_bucket_cors_configuration" "photos" {
  count  = length(var.cors_origins) > 0 ? 1 : 0
  bucket = aws_s3_bucket.photos.id
  cors_rule {
    id              = "uploads"
    allowed_methods = ["GET", "HEAD", "PUT", "POST"]
    allowed_origins = var.cors_origins
    allowed_headers = ["*"]
    expose_headers  = ["ETag"]
    max_age_seconds = 3600
  }
}

resource "aws_s3_bucket_policy" "photos" {
  bucket     = aws_s3_bucket.photos.id
  policy     = templatefile("${path.module}/../iam/bucket-policy.json", local.names)
  depends_on = [aws_s3_bucket_public_access_block.photos]
}
