//! Names that are twice in one table: RabbitMQ reads the first, and lapin keeps the last.

use std::collections::HashSet;
use std::ops::Range;

/// A new name is made of this character, and its number behind it.
const FILLER: u8 = b'?';
/// The digits of that number: the printable characters, from `!` on.
const DIGITS: std::ops::RangeInclusive<u8> = b'!'..=b'~';

/// Leaves out each entry of a table whose name, with its length in front, came before. `entries` are the names in
/// their order; an entry ends where the next one begins. Returns the bytes that are left.
pub(super) fn left_out(table: &mut [u8], entries: Vec<Range<usize>>) -> usize {
    let mut later = later_ones(table, &entries);
    if later.is_empty() {
        return table.len();
    }
    later.sort_unstable();
    let ends = entries.iter().skip(1).map(|next| next.start).chain([table.len()]).collect::<Vec<_>>();
    let mut write = 0;
    for (number, (entry, end)) in entries.iter().zip(ends).enumerate() {
        if later.binary_search(&number).is_err() {
            table.copy_within(entry.start..end, write);
            write += end - entry.start;
        }
    }
    write
}

/// Gives each name of a table that came before another name of the same length, which no name of the table has.
/// Returns whether there was any, and `None` if there is no other name, because it has no byte or there are too many
/// of one.
pub(super) fn renamed(bytes: &mut [u8], names: Vec<Range<usize>>) -> Option<bool> {
    let later = later_ones(bytes, &names);
    if later.is_empty() {
        return Some(false);
    }
    let taken: HashSet<Vec<u8>> = names.iter().map(|name| bytes[name.clone()].to_vec()).collect();
    // They are ordered by their length, so that counting on gives each a name of its own.
    let (mut length, mut count) = (0, 0);
    for number in later {
        let name = &mut bytes[names[number].clone()];
        if name.len() != length {
            (length, count) = (name.len(), 0);
        }
        loop {
            fill(name, count)?;
            count += 1;
            if !taken.contains(&*name) {
                break;
            }
        }
    }
    Some(true)
}

/// The numbers of the names that came before. Those of one length are together.
fn later_ones(bytes: &[u8], names: &[Range<usize>]) -> Vec<usize> {
    if names.len() < 2 {
        return Vec::new();
    }
    let name = |number: usize| &bytes[names[number].clone()];
    let mut order: Vec<usize> = (0..names.len()).collect();
    order.sort_unstable_by_key(|number| (name(*number).len(), name(*number), *number));
    order.windows(2).filter(|pair| name(pair[0]) == name(pair[1])).map(|pair| pair[1]).collect()
}

/// Writes a number at the end of a name of fillers. `None` if there is no room for it.
fn fill(name: &mut [u8], number: usize) -> Option<()> {
    let base = DIGITS.len();
    let mut rest = number;
    name.fill(FILLER);
    for (place, byte) in name.iter_mut().rev().enumerate() {
        if place == 0 || rest > 0 {
            *byte = DIGITS.start() + u8::try_from(rest % base).unwrap_or(0);
            rest /= base;
        }
    }
    (rest == 0 && !name.is_empty()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_make_names_of_their_own_as_long_as_there_are_any() {
        for (length, most) in [(0, 0), (1, 94), (2, 2_000), (255, 2_000)] {
            let made: Vec<_> = (0..2_000)
                .map_while(|number| {
                    let mut name = vec![b'n'; length];
                    fill(&mut name, number).map(|()| name)
                })
                .collect();
            assert_eq!(made.len(), most, "of {length}");
            assert_eq!(made.iter().collect::<HashSet<_>>().len(), most, "of {length}");
        }
    }
}
