//! RFC 6455 §5.3 masking: XOR with a repeating 4-byte key, in place; its own inverse.
//!
//! The key is laid out once over a block as wide as a vector register; the loop over blocks then
//! has neither a carried dependency nor a bounds check, which is what the compiler vectorises.

/// Bytes per block: two SSE registers, one AVX2 register.
const BLOCK_BYTES: usize = 32;

/// Masks or unmasks `bytes`, which begin `offset` bytes into the frame's payload.
pub fn mask(bytes: &mut [u8], key: [u8; 4], offset: usize) {
    let pad: [u8; 4] = std::array::from_fn(|index| key[(offset + index) % 4]);
    let (blocks, rest) = bytes.as_chunks_mut::<BLOCK_BYTES>();
    let block_pad: [u8; BLOCK_BYTES] = std::array::from_fn(|index| pad[index % 4]);
    for block in blocks {
        for (byte, pad) in block.iter_mut().zip(block_pad) {
            *byte ^= pad;
        }
    }
    // At most 31 bytes, the whole of a short message: by words, then by bytes.
    let (words, tail) = rest.as_chunks_mut::<4>();
    for word in words {
        *word = (u32::from_ne_bytes(*word) ^ u32::from_ne_bytes(pad)).to_ne_bytes();
    }
    for (byte, pad) in tail.iter_mut().zip(pad) {
        *byte ^= pad;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// §5.3 word for word: octet `i` of the payload is combined with octet `i mod 4` of the key.
    fn mask_as_the_rfc_says(bytes: &mut [u8], key: [u8; 4], offset: usize) {
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte ^= key[(offset + index) % 4];
        }
    }

    #[test]
    fn all_short_lengths_and_offsets_mask_as_the_rfc_says() {
        let key = [0x37, 0xFA, 0x21, 0x3D];
        let text: Vec<u8> = (0..200_u8).collect();
        for offset in 0..8 {
            for len in 0..text.len() {
                let mut ours = text[..len].to_vec();
                let mut theirs = ours.clone();
                mask(&mut ours, key, offset);
                mask_as_the_rfc_says(&mut theirs, key, offset);
                assert_eq!(ours, theirs, "{len} bytes at {offset}");
            }
        }
    }

    proptest! {
        #[test]
        fn masking_in_pieces_is_masking_at_once(
            text in proptest::collection::vec(any::<u8>(), 0..600),
            key: [u8; 4],
            offset in 0..1000_usize,
            cut in 0..600_usize,
        ) {
            let mut whole = text.clone();
            mask(&mut whole, key, offset);
            let mut pieces = text.clone();
            let cut = cut.min(pieces.len());
            let (head, tail) = pieces.split_at_mut(cut);
            mask(head, key, offset);
            mask(tail, key, offset + cut);
            prop_assert_eq!(&whole, &pieces);
            mask(&mut whole, key, offset);
            prop_assert_eq!(whole, text, "twice is not at all");
        }
    }
}
