variable "bucket" {
  description = "The bucket of photos."
  type        = string
  default     = "complaint-photos"
}

variable "region" {
  description = "The region of bucket, key and queue."
  type        = string
  default     = "eu-central-1"
}

variable "cors_origins" {
  description = "Origins of web pages that upload or show photos; bots need none."
  type        = list(string)
  default     = []
}

variable "infrequent_access_days" {
  description = "Age in days at which photos move to STANDARD_IA."
  type        = number
  default     = 30
}

variable "archive_days" {
  description = "Age in days at which photos move to archive_class."
  type        = number
  default     = 365
}

variable "archive_class" {
  description = "The cold class. GLACIER_IR answers at once; GLACIER and DEEP_ARCHIVE do not."
  type        = string
  default     = "GLACIER_IR"
}

variable "cloudfront_public_key_file" {
  description = "The public key of the pair that Cloakroom signs CloudFront URLs with: RSA 2048, PEM."
  type        = string
}
