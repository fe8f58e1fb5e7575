//! What can be true of a bucket, and what it means for us where it is not. The only table of it: the doctor's report, the
//! declared providers and the capabilities are made from these.

/// How much it matters that a fact does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Nothing depends on it, or there is another way.
    Note,
    /// Somebody should look at it.
    Warn,
    /// It does not work like this.
    Fail,
}

/// What facts are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    /// Getting there.
    Reach,
    /// What our credentials may do.
    Permissions,
    /// Presigned PUT.
    Put,
    /// Forms with a POST policy.
    Form,
    /// Presigned parts.
    Multipart,
    /// Presigned downloads, and reading.
    Reading,
    /// Checksums.
    Integrity,
    /// Conditional requests.
    Conditions,
    /// How the bucket is set up.
    Bucket,
}

impl Group {
    /// The heading in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Reach => "reach",
            Self::Permissions => "permissions",
            Self::Put => "presigned PUT",
            Self::Form => "POST form",
            Self::Multipart => "multipart",
            Self::Reading => "reading",
            Self::Integrity => "checksums",
            Self::Conditions => "conditions",
            Self::Bucket => "bucket",
        }
    }
}

macro_rules! facts {
    ($( $group:ident { $( $fact:ident $name:literal $weight:ident: $title:literal, $meaning:literal, $remedy:literal; )+ } )+) => {
        /// Something that can be true of a bucket in a service.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Fact {
            $($( #[doc = $title] $fact, )+)+
        }

        impl Fact {
            /// Every fact, in the order of reports.
            pub const ALL: &'static [Self] = &[$($( Self::$fact, )+)+];

            /// The name for machines: `put_binds_length`.
            pub const fn as_str(self) -> &'static str {
                match self { $($( Self::$fact => $name, )+)+ }
            }

            /// What it is about.
            pub const fn group(self) -> Group {
                match self { $($( Self::$fact => Group::$group, )+)+ }
            }

            /// How much it matters where it does not hold.
            pub const fn weight(self) -> Weight {
                match self { $($( Self::$fact => Weight::$weight, )+)+ }
            }

            /// What holds, in a line.
            pub const fn title(self) -> &'static str {
                match self { $($( Self::$fact => $title, )+)+ }
            }

            /// What it means where it does not hold.
            pub const fn meaning(self) -> &'static str {
                match self { $($( Self::$fact => $meaning, )+)+ }
            }

            /// What to do where it does not hold; empty where nothing can or need be done.
            pub const fn remedy(self) -> &'static str {
                match self { $($( Self::$fact => $remedy, )+)+ }
            }
        }
    };
}

facts! {
    Reach {
        EndpointReached "endpoint_reached" Fail: "the service answers at its address",
            "nothing can be stored", "check s3.endpoint, the network and the certificate";
        PublicEndpointReached "public_endpoint_reached" Warn: "the service answers at the address that clients use",
            "this machine does not reach it, and clients may not either; signatures were tried at s3.endpoint instead", "check s3.public_url, or run the doctor where clients are";
        CredentialsAccepted "credentials_accepted" Fail: "our credentials are accepted",
            "nothing can be stored", "check s3.access_key, s3.secret_key and s3.region";
        ClockAgrees "clock_agrees" Warn: "its clock and ours differ by less than a minute",
            "signatures are refused beyond 15 minutes, and URLs end early or late", "let both machines keep time by NTP";
        BucketExists "bucket_exists" Fail: "the bucket is there",
            "nothing can be stored", "create it, or let s3.bootstrap do so, or run the doctor with --fix";
    }
    Permissions {
        MayPut "may_put" Fail: "objects may be written (s3:PutObject)", "no file can be kept", "allow s3:PutObject on the bucket's objects";
        MayGet "may_get" Fail: "objects may be read (s3:GetObject)", "no file can be verified or downloaded", "allow s3:GetObject on the bucket's objects";
        MayHead "may_head" Fail: "objects may be looked at (s3:GetObject)", "no upload can be confirmed", "allow s3:GetObject on the bucket's objects";
        MayList "may_list" Fail: "objects may be listed (s3:ListBucket)", "expired uploads and orphans are not found", "allow s3:ListBucket on the bucket";
        MayCopy "may_copy" Fail: "objects may be copied (s3:GetObject, s3:PutObject)", "no verified file can be promoted", "allow s3:GetObject and s3:PutObject on the bucket's objects";
        MayBeginMultipart "may_begin_multipart" Warn: "multipart uploads may be begun (s3:PutObject)", "no file above 5 GiB can come in", "allow s3:PutObject on the bucket's objects";
        MayListParts "may_list_parts" Warn: "parts may be listed (s3:ListMultipartUploadParts)", "interrupted multipart uploads cannot be resumed", "allow s3:ListMultipartUploadParts on the bucket's objects";
        MayListUploads "may_list_uploads" Warn: "multipart uploads may be listed (s3:ListBucketMultipartUploads)", "abandoned parts are not found and cost money", "allow s3:ListBucketMultipartUploads on the bucket";
        MayAbortMultipart "may_abort_multipart" Warn: "multipart uploads may be given up (s3:AbortMultipartUpload)", "abandoned parts stay and cost money", "allow s3:AbortMultipartUpload on the bucket's objects";
        MayDelete "may_delete" Fail: "objects may be deleted (s3:DeleteObject)", "nothing is ever swept or purged; what the probe wrote stays under staging/ too", "allow s3:DeleteObject on the bucket's objects";
        MayReadCors "may_read_cors" Note: "the CORS configuration may be read (s3:GetBucketCORS)", "the bootstrap leaves CORS alone", "allow s3:GetBucketCORS, or set CORS up yourself";
        MayWriteCors "may_write_cors" Note: "the CORS configuration may be written (s3:PutBucketCORS)", "the bootstrap leaves CORS alone", "allow s3:PutBucketCORS, or set CORS up yourself";
        MayReadLifecycle "may_read_lifecycle" Note: "the lifecycle may be read (s3:GetLifecycleConfiguration)", "the bootstrap leaves the lifecycle alone", "allow s3:GetLifecycleConfiguration, or set the lifecycle up yourself";
        MayWriteLifecycle "may_write_lifecycle" Note: "the lifecycle may be written (s3:PutLifecycleConfiguration)", "the bootstrap leaves the lifecycle alone", "allow s3:PutLifecycleConfiguration, or set the lifecycle up yourself";
        MayReadPolicy "may_read_policy" Note: "the bucket policy may be read (s3:GetBucketPolicy)", "whether the bucket is public is not looked up", "allow s3:GetBucketPolicy";
        MayReadEncryption "may_read_encryption" Note: "the default encryption may be read (s3:GetEncryptionConfiguration)", "the bootstrap leaves the default encryption alone", "allow s3:GetEncryptionConfiguration";
        MayReadNotification "may_read_notification" Note: "notifications may be read (s3:GetBucketNotification)", "the bootstrap leaves notifications alone", "allow s3:GetBucketNotification";
    }
    Put {
        PutAsSigned "put_as_signed" Fail: "a presigned PUT is taken exactly as signed", "uploads with method put fail, so they are not offered", "check s3.public_url: a proxy that changes Host, path or headers breaks signatures";
        PutBindsType "put_binds_type" Fail: "another content type is refused", "a client could store another type than it signed for, so method put is not offered", "use a service that verifies signatures";
        PutBindsLength "put_binds_length" Fail: "another length is refused", "a client could store more than it signed for, so method put is not offered", "use a service that verifies signatures";
        PutBindsKey "put_binds_key" Fail: "another key is refused", "a client could write anywhere, so method put is not offered", "use a service that verifies signatures";
        PutExpires "put_expires" Fail: "it is refused after its time", "a URL that leaked is good for ever, so method put is not offered", "use a service that verifies signatures";
        PutRefusesCopySource "put_refuses_copy_source" Warn: "a copy source that was not signed is refused",
            "whoever may upload can copy any object whose key he knows into his own file, as far as the signing credentials may read it", "sign uploads with credentials that may only write: s3.upload_access_key and s3.upload_secret_key";
        PutRefusesAcl "put_refuses_acl" Warn: "an ACL that was not signed is refused, or makes nothing public", "a client can make its own staging object public; the verified copy is not", "run the doctor with --fix, or block public ACLs on the bucket";
        PutRefusesMetadata "put_refuses_metadata" Note: "other x-amz-* headers that were not signed are refused", "a client can attach metadata to its staging object; the verified copy has ours", "";
        PutVerifiesSha256 "put_verifies_sha256" Note: "a body with another SHA-256 than signed is refused", "a wrong body is found at confirmation instead of at the upload", "";
    }
    Form {
        FormAsSigned "form_as_signed" Warn: "a POST form is taken exactly as signed", "uploads with method post are not offered; put is used", "";
        FormBindsKey "form_binds_key" Warn: "another key is refused", "a client could write anywhere, so method post is not offered", "";
        FormBindsType "form_binds_type" Warn: "another content type is refused", "method post is not offered", "";
        FormBindsSizeMin "form_binds_size_min" Warn: "a file below the range is refused", "method post is not offered", "";
        FormBindsSizeMax "form_binds_size_max" Warn: "a file above the range is refused", "method post is not offered", "";
        FormExpires "form_expires" Warn: "it is refused after its time", "method post is not offered", "";
        FormRefusesFields "form_refuses_fields" Note: "a field that the policy does not name is refused", "a client can attach metadata or an ACL to its staging object; the verified copy has ours", "";
        FormBindsStatus "form_binds_status" Note: "another success status is refused", "a client chooses the status of its own answer", "";
        FormAnswersStatus "form_answers_status" Note: "it answers with the status that was asked for", "clients must take any 2xx for success", "";
    }
    Multipart {
        PartAsSigned "part_as_signed" Warn: "a presigned part is taken exactly as signed", "uploads with method multipart are not offered", "check s3.public_url";
        PartBindsNumber "part_binds_number" Warn: "another part number is refused", "method multipart is not offered", "";
        PartBindsKey "part_binds_key" Warn: "another key is refused", "method multipart is not offered", "";
        PartExpires "part_expires" Warn: "it is refused after its time", "method multipart is not offered", "";
        PartRefusesCopySource "part_refuses_copy_source" Warn: "a copy source that was not signed is refused",
            "whoever may upload can copy any object whose key he knows into his own file, as far as the signing credentials may read it", "sign uploads with credentials that may only write: s3.upload_access_key and s3.upload_secret_key";
        PartsComplete "parts_complete" Warn: "an upload in parts becomes one object", "no file above 5 GiB can come in", "";
        CompletedClosed "completed_closed" Note: "a completed upload takes no further part",
            "whoever still has a part's URL can make his own staging object unreadable, which then fails its verification, and parts stay behind that nothing lists; verified copies are not touched", "";
        SmallPartsRefused "small_parts_refused" Note: "a part below 5 MiB that is not the last is refused", "clients may send smaller parts than elsewhere; ours do not", "";
        EmptyParts "empty_parts" Note: "an upload's only part may be empty", "an empty file cannot come in with method multipart; with all others it can", "";
        UnevenParts "uneven_parts" Note: "parts may differ in size", "clients must send parts of one size; ours do", "";
        PartReads "part_reads" Note: "parts of an object can be read by their number", "reads by part number give the whole object", "";
    }
    Reading {
        GetAsSigned "get_as_signed" Fail: "a presigned GET is answered", "no file can be downloaded", "check s3.public_url";
        GetPresents "get_presents" Warn: "it answers with the type and name that were signed", "downloads have the name of their key", "";
        GetExpires "get_expires" Fail: "it is refused after its time", "a download URL is good for ever", "use a service that verifies signatures";
        AnonymousRefused "anonymous_refused" Fail: "nobody reads an object without a signature", "every file whose key is known is public", "block public access to the bucket (policy and ACLs)";
        Ranges "ranges" Warn: "ranges are answered as asked", "downloads cannot be resumed", "";
        LeadingSlashes "leading_slashes" Note: "a key that begins with a slash is a key of its own", "such keys are refused, since the service takes the slash off; no key of ours begins so", "";
        UserMetadata "user_metadata" Note: "2 KiB of user metadata come back with an object", "uploads of ours have none; objects that have more cannot be imported", "";
        ListEncoding "list_encoding" Warn: "keys with special characters are listed as they are", "such files look like orphans", "";
    }
    Integrity {
        ChecksumCrc32 "checksum_crc32" Note: "CRC-32 is verified", "we verify what arrived ourselves", "";
        ChecksumCrc32c "checksum_crc32c" Note: "CRC-32C is verified", "we verify what arrived ourselves", "";
        ChecksumCrc64Nvme "checksum_crc64nvme" Note: "CRC-64/NVME is verified", "we verify what arrived ourselves", "";
        ChecksumSha1 "checksum_sha1" Note: "SHA-1 is verified", "we verify what arrived ourselves", "";
        ChecksumSha256 "checksum_sha256" Note: "SHA-256 is verified", "we verify what arrived ourselves", "";
        ChecksumsShown "checksums_shown" Note: "a stored SHA-256 is shown again", "we verify what arrived ourselves", "";
        ChecksumsComputed "checksums_computed" Note: "a checksum is shown that nobody gave", "we verify what arrived ourselves", "";
        ContentMd5 "content_md5" Note: "Content-MD5 is verified", "we verify what arrived ourselves", "";
    }
    Conditions {
        PutIfAbsent "put_if_absent" Note: "If-None-Match: * keeps a PUT from replacing an object", "keys of ours are unique, so nothing is replaced anyway", "";
        PutIfMatch "put_if_match" Note: "If-Match keeps a PUT from replacing another object", "keys of ours are unique, so nothing is replaced anyway", "";
        CopyIfMatch "copy_if_match" Note: "a copy is refused when its source has changed", "the source is looked at again after each copy, and what was copied is measured", "";
        CopyIfAbsent "copy_if_absent" Note: "If-None-Match: * keeps a copy from replacing an object", "keys of ours are unique, so nothing is replaced anyway", "";
        CompletionIfAbsent "completion_if_absent" Note: "If-None-Match: * keeps the completion of a multipart upload from replacing an object", "keys of ours are unique, so nothing is replaced anyway", "";
        CompletionIfMatch "completion_if_match" Note: "If-Match keeps the completion of a multipart upload from replacing another object",
            "keys of ours are unique, so nothing is replaced anyway", "";
    }
    Bucket {
        SameProtocol "same_protocol" Warn: "pages of https origins are given https addresses",
            "browsers block what a page from https sends to an http address (mixed content): it can neither upload nor download", "serve the address that clients use over https, and say so in s3.public_url (S3_PRESIGN_ENDPOINT)";
        CorsPut "cors_put" Fail: "pages of the origin may PUT", "browsers refuse uploads with method put and multipart", "add the origin to s3.cors_origins, then run the doctor with --fix, or start a server, which does the same";
        CorsPost "cors_post" Warn: "pages of the origin may POST", "browsers hide the answer to forms", "add the origin to s3.cors_origins, then run the doctor with --fix, or start a server, which does the same";
        CorsGet "cors_get" Warn: "pages of the origin may GET", "pages cannot read files by script", "add the origin to s3.cors_origins, then run the doctor with --fix, or start a server, which does the same";
        CorsExposesEtag "cors_exposes_etag" Warn: "pages of the origin may see the ETag", "browsers cannot finish multipart uploads: each part's ETag is needed", "add the origin to s3.cors_origins, then run the doctor with --fix, or start a server, which does the same";
        LifecycleNet "lifecycle_net" Warn: "the bucket itself removes old staging objects", "what the sweeper misses stays and costs money", "run the doctor with --fix";
        LifecycleAborts "lifecycle_aborts" Warn: "the bucket itself gives up old multipart uploads", "abandoned parts stay and cost money", "run the doctor with --fix";
        EncryptionAes256 "encryption_aes256" Note: "objects are encrypted with a key of the service on request (SSE-S3)", "s3.encryption = AES256 has no effect", "";
        EncryptionKms "encryption_kms" Note: "objects are encrypted with a key of the key management on request (SSE-KMS)", "s3.encryption = aws:kms does not work", "";
        EncryptionAsConfigured "encryption_as_configured" Fail: "uploads are encrypted as s3.encryption says", "files are not encrypted as you want", "check s3.encryption and s3.kms_key_id, and the key's policy";
        StorageClassAsConfigured "storage_class_as_configured" Fail: "objects are stored in the class that s3.storage_class says", "files are stored in another class, or not at all", "check s3.storage_class";
        VersioningOff "versioning_off" Warn: "deleted objects are gone (no versioning)", "deleted files stay as old versions and cost money; purging does not erase them", "suspend versioning, or let a lifecycle rule remove old versions";
        Notifications "notifications" Note: "the bucket can tell of new objects", "uploads that nobody confirms are found by the sweeper only", "";
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_failure_has_a_remedy() {
        let names: BTreeSet<_> = Fact::ALL.iter().map(|fact| fact.as_str()).collect();
        assert_eq!(names.len(), Fact::ALL.len());
        for fact in Fact::ALL {
            assert!(!fact.title().is_empty() && !fact.meaning().is_empty());
            assert!(
                fact.weight() != Weight::Fail || !fact.remedy().is_empty(),
                "{fact:?}"
            );
        }
    }
}
