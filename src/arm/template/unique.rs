//! The hash behind `uniqueString`, so that names are those that Azure makes from the same seeds.
//!
//! Azure does not document it; deployments show it: the seeds joined by `-`, a 64-bit hash of the Murmur family, written in
//! base 32. The case of a seed counts. The tests have every published value that is known to be Azure's; all agree.

const FIRST: u32 = 0xab0e_9789;
const SECOND: u32 = 0x239b_961b;
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Characters of 5 bits each; the last has 4.
const LENGTH: usize = 13;

/// `uniqueString` of the joined seeds.
pub(super) fn unique(text: &str) -> String {
    let hash = hash(text.as_bytes());
    let character = |at: usize| {
        let bits = if at + 1 == LENGTH { hash << 1 } else { hash >> (59 - 5 * at) };
        char::from(ALPHABET[(bits & 31) as usize])
    };
    (0..LENGTH).map(character).collect()
}

/// An identifier in the form of a GUID, the same for the same text. Its value is not Azure's.
pub(super) fn guid(text: &str) -> String {
    let (high, low) = (hash(text.as_bytes()), hash(format!("guid-{text}").as_bytes()));
    let start = format!("{:08x}-{:04x}-{:04x}", high >> 32, (high >> 16) & 0xffff, (high & 0xfff) | 0x5000);
    format!("{start}-{:04x}-{:012x}", ((low >> 48) & 0x3fff) | 0x8000, low & 0xffff_ffff_ffff)
}

fn first_lane(word: u32) -> u32 {
    word.wrapping_mul(SECOND).rotate_left(15).wrapping_mul(FIRST)
}

fn second_lane(word: u32) -> u32 {
    word.wrapping_mul(FIRST).rotate_left(17).wrapping_mul(SECOND)
}

/// Up to four bytes, the lowest first.
fn word(bytes: &[u8]) -> u32 {
    bytes.iter().rev().fold(0, |word, byte| (word << 8) | u32::from(*byte))
}

fn finish(word: u32) -> u32 {
    let word = (word ^ (word >> 16)).wrapping_mul(0x85eb_ca6b);
    let word = (word ^ (word >> 13)).wrapping_mul(0xc2b2_ae35);
    word ^ (word >> 16)
}

fn hash(bytes: &[u8]) -> u64 {
    let (mut one, mut two) = (0_u32, 0_u32);
    let (blocks, rest) = bytes.as_chunks::<8>();
    for block in blocks {
        one = (one ^ first_lane(word(&block[..4]))).rotate_left(19).wrapping_add(two);
        one = one.wrapping_mul(5).wrapping_add(0x561c_cd1b);
        two = (two ^ second_lane(word(&block[4..]))).rotate_left(13).wrapping_add(one);
        two = two.wrapping_mul(5).wrapping_add(0x0bca_a747);
    }
    let (low, high) = rest.split_at(rest.len().min(4));
    one ^= first_lane(word(low));
    two ^= second_lane(word(high));
    let length = bytes.len() as u32;
    two ^= length;
    one = (one ^ length).wrapping_add(two);
    two = two.wrapping_add(one);
    one = finish(one);
    two = finish(two);
    one = one.wrapping_add(two);
    two = two.wrapping_add(one);
    (u64::from(two) << 32) | u64::from(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_those_that_azure_returned() {
        let machine = "/subscriptions/31e9f9a0-9fd2-4294-a0a3-0101246d9700/resourceGroups/rg-modm201-20230913120256/providers/Microsoft.Compute/virtualMachines/bobjacmodm201";
        for (seeds, value) in [
            ("tyeth", "zcztcwvu6iyg6"),
            ("test", "rbgf3xv4ufgzg"),
            ("abc", "cgtzqvhu4i23s"),
            ("hello-world", "a7wkljktk6wne"),
            ("foo-bar-baz", "xzi4ioaxtmth4"),
            ("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/my-rg", "bmg7c6xu4tw46"),
            (
                "/subscriptions/3c7f956b-55ee-4686-9d30-da1eb631dc59/resourceGroups/rg-devopsshieldek010dev",
                "fd63l2gacbtca",
            ),
            // Its first publication had another value, which its authors have corrected to this one.
            (machine, "yvjxno3je5on2"),
        ] {
            assert_eq!(unique(seeds), value, "{seeds}");
        }
        assert_eq!(unique("").len(), 13);
    }

    #[test]
    fn a_guid_has_its_form_and_is_stable() {
        let made = guid("a");
        assert_eq!(made.split('-').map(str::len).collect::<Vec<_>>(), [8, 4, 4, 4, 12]);
        assert_eq!(made, guid("a"));
        assert_ne!(made, guid("b"));
    }
}
