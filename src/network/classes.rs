//! Which of a detector's classes are people.

use std::fmt;

/// Most classes that are supported.
const MOST: usize = 512;
const WORDS: usize = MOST / 64;

/// Numbers of classes, as YOLOX and RTMDet count them; 0 is a person.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Classes([u64; WORDS]);

impl Default for Classes {
    /// Class 0.
    fn default() -> Self {
        Self::of([0])
    }
}

impl Classes {
    /// From numbers below 512; others are ignored.
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Self {
        let mut words = [0; WORDS];
        for number in numbers.into_iter().filter(|number| *number < MOST) {
            words[number / 64] |= 1 << (number % 64);
        }
        Self(words)
    }

    /// Reads a list such as `0, 2`. The error is the entry that is not a class.
    pub fn read(text: &str) -> Result<Self, String> {
        let numbers = text.split(',').map(str::trim).filter(|text| !text.is_empty());
        let number = |text: &str| text.parse().ok().filter(|number| *number < MOST).ok_or(text.to_string());
        let numbers: Vec<usize> = numbers.map(number).collect::<Result<_, _>>()?;
        if numbers.is_empty() { Err(text.to_string()) } else { Ok(Self::of(numbers)) }
    }

    pub fn contains(&self, number: usize) -> bool {
        number < MOST && self.0[number / 64] >> (number % 64) & 1 == 1
    }

    /// The numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = usize> {
        let classes = *self;
        (0..MOST).filter(move |number| classes.contains(*number))
    }

    pub fn count(&self) -> usize {
        self.numbers().count()
    }

    /// The highest number.
    pub fn last(&self) -> usize {
        self.numbers().last().unwrap_or(0)
    }
}

impl fmt::Debug for Classes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.numbers()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_classes_are_read() {
        let numbers = |text: &str| Classes::read(text).map(|classes| classes.numbers().collect::<Vec<_>>());
        assert_eq!(numbers("0"), Ok(vec![0]));
        assert_eq!(numbers(" 7,0 ,511,7"), Ok(vec![0, 7, 511]));
        for (text, wrong) in [("", ""), (" , ", " , "), ("person", "person"), ("0,-1", "-1"), ("512", "512")]
        {
            assert_eq!(numbers(text), Err(wrong.to_string()), "{text}");
        }
        let classes = Classes::of([64, 3]);
        assert_eq!((classes.count(), classes.last()), (2, 64));
        assert!(classes.contains(64) && !classes.contains(0) && !classes.contains(usize::MAX));
        assert_eq!(Classes::default(), Classes::of([0]));
    }
}
