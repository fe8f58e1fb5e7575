# Reading goes through CloudFront alone: origin access control signs its requests to the bucket, and a viewer needs a URL
# that Cloakroom signed (downloads.cloudfront_*).

resource "aws_cloudfront_origin_access_control" "photos" {
  name                              = var.bucket
  origin_access_control_origin_type = "s3"
  signing_behavior                  = "always"
  signing_protocol                  = "sigv4"
}

resource "aws_cloudfront_public_key" "cloakroom" {
  name        = "${var.bucket}-cloakroom"
  encoded_key = file(var.cloudfront_public_key_file)
}

resource "aws_cloudfront_key_group" "cloakroom" {
  name  = "${var.bucket}-cloakroom"
  items = [aws_cloudfront_public_key.cloakroom.id]
}

# How a download presents itself is part of its URL, so it is part of what is cached.
resource "aws_cloudfront_cache_policy" "photos" {
  name        = "${var.bucket}-presentation"
  default_ttl = 86400
  max_ttl     = 31536000
  min_ttl     = 0
  parameters_in_cache_key_and_forwarded_to_origin {
    cookies_config {
      cookie_behavior = "none"
    }
    headers_config {
      header_behavior = "none"
    }
    query_strings_config {
      query_string_behavior = "whitelist"
      query_strings {
        items = ["response-content-disposition", "response-content-type"]
      }
    }
  }
}

resource "aws_cloudfront_distribution" "photos" {
  enabled         = true
  is_ipv6_enabled = true
  comment         = "Photos of complaints"

  origin {
    origin_id                = "photos"
    domain_name              = aws_s3_bucket.photos.bucket_regional_domain_name
    origin_access_control_id = aws_cloudfront_origin_access_control.photos.id
  }

  default_cache_behavior {
    target_origin_id       = "photos"
    viewer_protocol_policy = "https-only"
    allowed_methods        = ["GET", "HEAD"]
    cached_methods         = ["GET", "HEAD"]
    cache_policy_id        = aws_cloudfront_cache_policy.photos.id
    trusted_key_groups     = [aws_cloudfront_key_group.cloakroom.id]
  }

  restrictions {
    geo_restriction {
      restriction_type = "none"
    }
  }

  viewer_certificate {
    cloudfront_default_certificate = true
  }
}
