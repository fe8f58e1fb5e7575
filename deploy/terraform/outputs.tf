output "settings" {
  description = "What Cloakroom is told about all this."
  value = {
    S3_ENDPOINT                                = "https://s3.${var.region}.amazonaws.com"
    S3_REGION                                  = var.region
    CLOAKROOM_S3_BOOTSTRAP                     = "false"
    CLOAKROOM_COLLECTIONS_PHOTOS_BUCKET        = aws_s3_bucket.photos.id
    CLOAKROOM_COLLECTIONS_PHOTOS_AUTO_CONFIRM  = "true"
    CLOAKROOM_BUCKET_EVENTS_SQS_QUEUE_URL      = aws_sqs_queue.uploads.url
    CLOAKROOM_DOWNLOADS_CLOUDFRONT_URL         = "https://${aws_cloudfront_distribution.photos.domain_name}"
    CLOAKROOM_DOWNLOADS_CLOUDFRONT_KEY_PAIR_ID = aws_cloudfront_public_key.cloakroom.id
  }
}
