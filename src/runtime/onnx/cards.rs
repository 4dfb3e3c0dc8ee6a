//! Which NVIDIA GPUs run the model, if the user sets several.

/// More than any machine has.
const MOST: usize = 64;

/// Several GPUs, each with its own executors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cards {
    /// By number, in CUDA's order.
    These(Vec<u32>),
    All,
}

impl Cards {
    /// Reads `0,1,3` or `all`. The error completes a sentence that begins with 'device-ids cannot be used: '.
    pub fn parse(text: &str) -> Result<Self, String> {
        const FORM: &str = "set GPU numbers, separated by commas, such as 0,1, or all";
        if text.trim() == "all" {
            return Ok(Self::All);
        }
        if text.trim().is_empty() {
            return Err(format!("it contains no GPU; {FORM}"));
        }
        let mut numbers = Vec::new();
        for word in text.split(',').map(str::trim) {
            if word.is_empty() {
                return Err(format!("a number is missing next to a comma; {FORM}"));
            }
            let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
            let number =
                word.parse::<u32>().ok().filter(|number| is_number && i32::try_from(*number).is_ok());
            let number = number.ok_or_else(|| format!("{word} is not a GPU number; {FORM}"))?;
            if numbers.contains(&number) {
                return Err(format!("it contains GPU {number} twice; use each once"));
            }
            numbers.push(number);
        }
        if numbers.len() > MOST {
            return Err(format!("it contains {} GPUs, more than {MOST}", numbers.len()));
        }
        Ok(Self::These(numbers))
    }

    /// The GPUs' numbers, on a machine with `count` GPUs. The error completes such a sentence, too.
    pub(super) fn numbers(&self, count: u32) -> Result<Vec<u32>, String> {
        match self {
            Self::All => Ok((0..count).collect()),
            Self::These(numbers) => match numbers.iter().find(|number| **number >= count) {
                None => Ok(numbers.clone()),
                Some(number) => {
                    let known = match count {
                        1 => "one GPU, number 0".to_string(),
                        _ => format!("{count} GPUs, 0 to {}", count - 1),
                    };
                    Err(format!(
                        "there is no GPU {number}: CUDA finds {known} (CUDA_VISIBLE_DEVICES can hide others)"
                    ))
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_are_named_by_numbers_or_all() {
        let these = |numbers: &[u32]| Ok(Cards::These(numbers.to_vec()));
        assert_eq!(Cards::parse("0,1,3"), these(&[0, 1, 3]));
        assert_eq!(Cards::parse(" 2 , 0 "), these(&[2, 0]));
        assert_eq!(Cards::parse("5"), these(&[5]));
        assert_eq!(Cards::parse("all"), Ok(Cards::All));
        let many: Vec<_> = (0..65).map(|number| number.to_string()).collect();
        for (text, word) in [
            ("", "no GPU"),
            (" ", "no GPU"),
            ("0,,1", "missing"),
            ("0,", "missing"),
            (",", "missing"),
            ("0,0", "contains GPU 0 twice"),
            ("x", "x is no"),
            ("0;1", "0;1 is no"),
            ("-1", "-1 is no"),
            ("+1", "+1 is no"),
            ("0x1", "0x1 is no"),
            ("1.0", "1.0 is no"),
            ("4294967295", "4294967295 is no"),
            ("All", "All is no"),
            ("all,0", "all is no"),
            (&many.join(","), "65 GPUs"),
        ] {
            let error = Cards::parse(text).expect_err(text);
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn cards_that_are_not_there_are_told_with_those_that_are() {
        assert_eq!(Cards::All.numbers(4), Ok(vec![0, 1, 2, 3]));
        assert_eq!(Cards::All.numbers(0), Ok(vec![]));
        let cards = Cards::These(vec![3, 1]);
        assert_eq!(cards.numbers(4), Ok(vec![3, 1]));
        assert!(cards.numbers(3).unwrap_err().starts_with("there is no GPU 3: CUDA finds 3 GPUs, 0 to 2"));
        assert!(cards.numbers(1).unwrap_err().contains("CUDA finds one GPU, number 0"));
    }
}
