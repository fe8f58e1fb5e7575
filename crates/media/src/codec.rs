//! The names that containers give codecs, and the names that people know them by (ffmpeg's).

/// The codec of an ISO base media or QuickTime sample entry.
pub(crate) fn of_sample_entry(kind: [u8; 4]) -> Option<String> {
    let name = match &kind {
        b"avc1" | b"avc2" | b"avc3" | b"avc4" | b"dva1" | b"dvav" => "h264",
        b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => "hevc",
        b"vvc1" | b"vvi1" => "vvc",
        b"av01" | b"dav1" => "av1",
        b"vp08" => "vp8",
        b"vp09" => "vp9",
        b"mp4v" => "mpeg4",
        b"s263" | b"h263" => "h263",
        b"jpeg" | b"mjpa" => "mjpeg",
        b"png " => "png",
        b"apch" | b"apcn" | b"apcs" | b"apco" | b"ap4h" | b"ap4x" => "prores",
        b"mp4a" => "aac",
        b".mp3" | [b'm', b's', 0, 0x55] => "mp3",
        b"ac-3" => "ac3",
        b"ec-3" => "eac3",
        b"Opus" => "opus",
        b"fLaC" => "flac",
        b"alac" => "alac",
        b"samr" => "amr_nb",
        b"sawb" => "amr_wb",
        b"sowt" => "pcm_s16le",
        b"twos" => "pcm_s16be",
        b"in24" => "pcm_s24be",
        b"in32" => "pcm_s32be",
        b"fl32" => "pcm_f32be",
        b"ulaw" => "pcm_mulaw",
        b"alaw" => "pcm_alaw",
        b"dtsc" | b"dtsh" | b"dtsl" | b"dtse" => "dts",
        _ => return readable(kind),
    };
    Some(name.to_owned())
}

/// The codec of an MPEG-4 object type (ISO/IEC 14496-1, table 5).
pub(crate) fn of_object_type(kind: u8) -> Option<&'static str> {
    Some(match kind {
        0x20 => "mpeg4",
        0x21 => "h264",
        0x23 => "hevc",
        0x40 | 0x66..=0x68 => "aac",
        0x60..=0x65 => "mpeg2video",
        0x69 | 0x6B => "mp3",
        0x6A => "mpeg1video",
        0x6C => "mjpeg",
        0xA5 => "ac3",
        0xA6 => "eac3",
        0xA9 => "dts",
        0xAD => "opus",
        0xDD => "vorbis",
        _ => return None,
    })
}

/// The codec of a Matroska `CodecID`, with the bits of a sample for PCM and the codec's own header for what Windows
/// named (RFC 9559, section 27.4: a `BITMAPINFOHEADER`, a `WAVEFORMATEX`).
pub(crate) fn of_matroska(id: &str, bits: u64, private: &[u8]) -> Option<String> {
    let four_characters = || private.get(16..).and_then(<[u8]>::first_chunk::<4>).copied();
    let tag = || private.first_chunk::<2>().map(|&tag| u16::from_le_bytes(tag));
    let name = match id {
        "V_MS/VFW/FOURCC" if private.len() >= 20 => return four_characters().and_then(of_avi),
        "A_MS/ACM" if private.len() >= 16 => {
            let bits = u16::from_le_bytes([private[14], private[15]]);
            return tag().and_then(|tag| of_wave(tag, bits));
        }
        "A_PCM/INT/LIT" if bits == 8 => "pcm_u8",
        "A_PCM/INT/LIT" if matches!(bits, 24 | 32) => return Some(format!("pcm_s{bits}le")),
        "A_PCM/INT/BIG" if matches!(bits, 24 | 32) => return Some(format!("pcm_s{bits}be")),
        "A_PCM/FLOAT/IEEE" if bits == 64 => "pcm_f64le",
        "V_VP8" => "vp8",
        "V_VP9" => "vp9",
        "V_AV1" => "av1",
        "V_MPEG4/ISO/AVC" => "h264",
        "V_MPEGH/ISO/HEVC" => "hevc",
        "V_MPEG4/ISO/ASP" | "V_MPEG4/ISO/SP" | "V_MPEG4/ISO/AP" => "mpeg4",
        "V_MPEG1" => "mpeg1video",
        "V_MPEG2" => "mpeg2video",
        "V_MJPEG" => "mjpeg",
        "V_THEORA" => "theora",
        "V_PRORES" => "prores",
        "A_OPUS" | "A_OPUS/EXPERIMENTAL" => "opus",
        "A_VORBIS" => "vorbis",
        "A_FLAC" => "flac",
        "A_MPEG/L3" => "mp3",
        "A_MPEG/L2" => "mp2",
        "A_AC3" => "ac3",
        "A_EAC3" => "eac3",
        "A_DTS" => "dts",
        "A_TRUEHD" => "truehd",
        "A_ALAC" => "alac",
        "A_PCM/INT/LIT" => "pcm_s16le",
        "A_PCM/INT/BIG" => "pcm_s16be",
        "A_PCM/FLOAT/IEEE" => "pcm_f32le",
        _ if id.starts_with("A_AAC") => "aac",
        _ => {
            let id = id.to_ascii_lowercase();
            let plain = id.bytes().all(|byte| byte.is_ascii_graphic()) && !id.is_empty();
            return plain.then_some(id);
        }
    };
    Some(name.to_owned())
}

/// The codec of a `WAVEFORMATEX` tag, with the bits of a sample for PCM.
pub(crate) fn of_wave(tag: u16, bits: u16) -> Option<String> {
    Some(match (tag, bits) {
        (1, 8) => "pcm_u8".to_owned(),
        (1, 16 | 24 | 32) => format!("pcm_s{bits}le"),
        (3, 32 | 64) => format!("pcm_f{bits}le"),
        (1 | 3, _) => "pcm".to_owned(),
        (2, _) => "adpcm_ms".to_owned(),
        (6, _) => "pcm_alaw".to_owned(),
        (7, _) => "pcm_mulaw".to_owned(),
        (0x11, _) => "adpcm_ima_wav".to_owned(),
        (0x31, _) => "gsm_ms".to_owned(),
        (0x50, _) => "mp2".to_owned(),
        (0x55, _) => "mp3".to_owned(),
        (0xFF | 0x1610, _) => "aac".to_owned(),
        (0x160 | 0x161, _) => "wmav2".to_owned(),
        (0x2000, _) => "ac3".to_owned(),
        (0xF1AC, _) => "flac".to_owned(),
        _ => return None,
    })
}

/// The codec of an AVI video stream.
pub(crate) fn of_avi(kind: [u8; 4]) -> Option<String> {
    let upper = kind.map(|byte| byte.to_ascii_uppercase());
    let name = match &upper {
        b"H264" | b"X264" | b"AVC1" | b"DAVC" => "h264",
        b"HEVC" | b"H265" | b"X265" => "hevc",
        b"XVID" | b"DIVX" | b"DX50" | b"FMP4" | b"MP4V" => "mpeg4",
        b"DIV3" | b"MP43" => "msmpeg4v3",
        b"MJPG" => "mjpeg",
        b"VP80" => "vp8",
        b"VP90" => "vp9",
        b"AV01" => "av1",
        b"MPG1" => "mpeg1video",
        b"MPG2" => "mpeg2video",
        b"DVSD" => "dvvideo",
        [0, 0, 0, 0] => "rawvideo",
        _ => return readable(upper),
    };
    Some(name.to_owned())
}

/// A four-character code that is not in the tables, as it stands, where people can read it.
fn readable(kind: [u8; 4]) -> Option<String> {
    let text = std::str::from_utf8(&kind).ok()?.trim().to_ascii_lowercase();
    (!text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
    .then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matroska_names_windows_codecs_and_pcm_by_other_fields() {
        let mut bitmap = [0; 40];
        bitmap[16..20].copy_from_slice(b"FFV1");
        let wave = [0x02, 0, 2, 0, 0x44, 0xAC, 0, 0, 0, 0, 0, 0, 4, 0, 4, 0];
        let table: [(&str, u64, &[u8], Option<&str>); 9] = [
            ("V_MS/VFW/FOURCC", 0, &bitmap, Some("ffv1")),
            ("V_MS/VFW/FOURCC", 0, b"cut off", Some("v_ms/vfw/fourcc")),
            ("A_MS/ACM", 0, &wave, Some("adpcm_ms")),
            ("A_PCM/INT/LIT", 24, b"", Some("pcm_s24le")),
            ("A_PCM/INT/LIT", 0, b"", Some("pcm_s16le")),
            ("A_PCM/INT/LIT", 8, b"", Some("pcm_u8")),
            ("A_PCM/INT/BIG", 32, b"", Some("pcm_s32be")),
            ("A_PCM/FLOAT/IEEE", 64, b"", Some("pcm_f64le")),
            ("V_VP9", 0, b"", Some("vp9")),
        ];
        for (id, bits, private, expected) in table {
            assert_eq!(of_matroska(id, bits, private).as_deref(), expected, "{id} {bits}");
        }
    }
}
