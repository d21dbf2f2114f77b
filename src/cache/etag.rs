//! Are two entity tags the same? (RFC 9110 §8.8.3)
//!
//! There are two answers: weakly, for telling a client that its copy will do, and strongly, for putting parts of a
//! body together. A tag looks like a quoted-string and is none: it has no escapes.

/// RFC 9110 §8.8.3. Tags of origins that forget the quotes are compared as they are, as if quoted so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct EntityTag<'a> {
    /// `W/`
    pub(super) weak: bool,
    opaque: &'a [u8],
}

impl<'a> EntityTag<'a> {
    pub(super) fn parse(value: &'a [u8]) -> EntityTag<'a> {
        let value = value.trim_ascii();
        match value.strip_prefix(b"W/") {
            Some(opaque) => EntityTag { weak: true, opaque },
            None => EntityTag { weak: false, opaque: value },
        }
    }

    /// RFC 9110 §8.8.3.2
    pub(super) fn weakly_equals(self, other: EntityTag<'_>) -> bool {
        self.opaque == other.opaque
    }

    /// RFC 9110 §8.8.3.2
    pub(super) fn strongly_equals(self, other: EntityTag<'_>) -> bool {
        !self.weak && !other.weak && self.opaque == other.opaque
    }
}

/// The tags of a field line. Unlike a quoted-string, a tag has no escapes: a backslash is a letter.
pub(super) struct EntityTags<'a>(pub(super) &'a [u8]);

impl<'a> Iterator for EntityTags<'a> {
    type Item = EntityTag<'a>;

    fn next(&mut self) -> Option<EntityTag<'a>> {
        loop {
            let mut quoted = false;
            let end = self.0.iter().position(|b| {
                quoted ^= *b == b'"';
                *b == b',' && !quoted
            });
            let (tag, rest) = match end {
                Some(end) => (&self.0[..end], &self.0[end + 1..]),
                None => (self.0, &[][..]),
            };
            self.0 = rest;
            if !tag.trim_ascii().is_empty() {
                return Some(EntityTag::parse(tag));
            }
            if rest.is_empty() {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_comparisons_rfc9110_8_8_3_2() {
        for (a, b, strong, weak) in [
            ("W/\"1\"", "W/\"1\"", false, true),
            ("W/\"1\"", "W/\"2\"", false, false),
            ("W/\"1\"", "\"1\"", false, true),
            ("\"1\"", "\"1\"", true, true),
        ] {
            let (a, b) = (EntityTag::parse(a.as_bytes()), EntityTag::parse(b.as_bytes()));
            assert_eq!((a.strongly_equals(b), a.weakly_equals(b)), (strong, weak), "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_list_splits_at_commas_outside_quotes() {
        let tags: Vec<_> = EntityTags(b" \"a,b\" ,, W/\"c\\\",\"\"").map(|tag| (tag.weak, tag.opaque)).collect();
        assert_eq!(tags, [(false, &b"\"a,b\""[..]), (true, b"\"c\\\""), (false, b"\"\"")]);
        assert_eq!(EntityTags(b" , ,").count(), 0);
    }
}
