//! Test files, made on the spot: bytes that no two runs share.

/// Bytes that look like noise and are the same for the same seed (xorshift64*).
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        bytes.extend_from_slice(&state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_depends_on_its_seed_alone() {
        assert_eq!(noise(2, 1001), noise(2, 1001));
        assert_ne!(noise(2, 1001), noise(4, 1001));
        assert_eq!(noise(2, 1001).len(), 1001);
    }
}
