//! Constants of a graph: reads their numbers after checking every size, and makes new ones.

use half::{f16, slice::HalfFloatSliceExt};
use prost::bytes::Bytes;

use super::messages::{Tensor, element_type};

impl Tensor {
    pub fn float32(name: &str, dims: &[i64], values: &[f32]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Self::raw(name, element_type::FLOAT, dims, raw)
    }

    pub fn float16(name: &str, dims: &[i64], values: &[f16]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Self::raw(name, element_type::FLOAT16, dims, raw)
    }

    pub fn int64(name: &str, dims: &[i64], values: &[i64]) -> Self {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<_>>();
        Self::raw(name, element_type::INT64, dims, raw)
    }

    fn raw(name: &str, data_type: i32, dims: &[i64], raw: Vec<u8>) -> Self {
        Self {
            name: Some(name.to_string()),
            data_type: Some(data_type),
            dims: dims.to_vec(),
            raw_data: Some(Bytes::from(raw)),
            ..Self::default()
        }
    }

    /// The numbers of a float32 or float16 tensor; an error if their count differs from its dimensions.
    pub fn to_float32(&self) -> Result<Vec<f32>, String> {
        let complaint = |found: usize| {
            let dims = &self.dims;
            Err(format!("the tensor `{}` of {dims:?} has {found} numbers", self.name()))
        };
        // Never allocated, only compared with the file's contents.
        let count = self
            .dims
            .iter()
            .try_fold(1usize, |count, dim| count.checked_mul(usize::try_from(*dim).ok()?))
            .unwrap_or(usize::MAX);
        match (self.data_type(), &self.raw_data) {
            (element_type::FLOAT, Some(raw)) if raw.len() / 4 == count && raw.len().is_multiple_of(4) => {
                let (numbers, _) = raw.as_chunks();
                Ok(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect())
            }
            (element_type::FLOAT, None) if self.float_data.len() == count => Ok(self.float_data.clone()),
            (element_type::FLOAT16, Some(raw)) if raw.len() / 2 == count && raw.len().is_multiple_of(2) => {
                let (numbers, _) = raw.as_chunks();
                Ok(numbers.iter().map(|bytes| f16::from_le_bytes(*bytes).to_f32()).collect())
            }
            // Half-precision numbers are the lower 16 bits of these.
            (element_type::FLOAT16, None) if self.int32_data.len() == count => {
                Ok(self.int32_data.iter().map(|bits| f16::from_bits(*bits as u16).to_f32()).collect())
            }
            (element_type::FLOAT, Some(raw)) => complaint(raw.len() / 4),
            (element_type::FLOAT, None) => complaint(self.float_data.len()),
            (element_type::FLOAT16, Some(raw)) => complaint(raw.len() / 2),
            (element_type::FLOAT16, None) => complaint(self.int32_data.len()),
            (other, _) => Err(format!(
                "the tensor `{}` has type {}, which is not a float type",
                self.name(),
                element_type::name(other)
            )),
        }
    }

    /// The first number of a float tensor.
    pub fn first_float(&self) -> Option<f32> {
        self.to_float32().ok()?.first().copied()
    }

    /// The first number of an int64 tensor.
    pub fn first_int64(&self) -> Option<i64> {
        self.to_int64()?.first().copied()
    }

    /// The numbers of an int64 tensor.
    pub fn to_int64(&self) -> Option<Vec<i64>> {
        match (self.data_type(), &self.raw_data) {
            (element_type::INT64, Some(raw)) => {
                Some(raw.as_chunks().0.iter().map(|bytes| i64::from_le_bytes(*bytes)).collect())
            }
            (element_type::INT64, None) => Some(self.int64_data.clone()),
            _ => None,
        }
    }

    /// The same numbers in half precision, under another name. Numbers out of its range become its largest or, so that
    /// nothing is divided by 0, its smallest number.
    pub fn to_float16(&self, name: &str) -> Result<Self, String> {
        let smallest = f16::from_bits(1).to_f32();
        let mut values = self.to_float32()?;
        for value in &mut values {
            *value = value.clamp(f16::MIN.to_f32(), f16::MAX.to_f32());
            if *value != 0.0 && value.abs() < smallest {
                *value = smallest.copysign(*value);
            }
        }
        let mut halves = vec![f16::ZERO; values.len()];
        halves.convert_from_f32_slice(&values);
        Ok(Self::float16(name, &self.dims, &halves))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_each_field_that_can_hold_them() {
        let raw = Tensor::float32("w", &[2, 1], &[1.5, -2.0]);
        assert_eq!(raw.to_float32().unwrap(), [1.5, -2.0]);
        let typed = Tensor { raw_data: None, float_data: vec![1.5, -2.0], ..raw.clone() };
        assert_eq!(typed.to_float32().unwrap(), [1.5, -2.0]);
        let half = Tensor::float16("h", &[2], &[f16::from_f32(0.5), f16::from_f32(-3.0)]);
        assert_eq!(half.to_float32().unwrap(), [0.5, -3.0]);
        let typed = Tensor { raw_data: None, int32_data: vec![0x3800, 0xc200], ..half };
        assert_eq!(typed.to_float32().unwrap(), [0.5, -3.0]);
        assert_eq!(Tensor::float32("scalar", &[], &[7.0]).to_float32().unwrap(), [7.0]);
        let whole = Tensor::int64("i", &[2], &[-5, 3]);
        assert_eq!(
            (whole.first_int64(), whole.first_float(), raw.first_float()),
            (Some(-5), None, Some(1.5))
        );
        let typed = Tensor { raw_data: None, int64_data: vec![-5, 3], ..whole };
        assert_eq!((typed.first_int64(), raw.first_int64()), (Some(-5), None));
        assert_eq!(Tensor::int64("i", &[0], &[]).first_int64(), None);
    }

    #[test]
    fn sizes_that_the_file_does_not_hold_are_errors() {
        for dims in
            [vec![1 << 31], vec![i64::MAX, i64::MAX], vec![-1], vec![3], vec![1 << 32, 1 << 32], vec![0]]
        {
            let tensor = Tensor { dims, ..Tensor::float32("w", &[], &[1.0, 2.0]) };
            let error = tensor.to_float32().unwrap_err();
            assert!(error.contains("`w`") && error.contains("2 numbers"), "{error}");
            let typed = Tensor { raw_data: None, float_data: vec![1.0, 2.0], ..tensor };
            assert!(typed.to_float32().is_err());
        }
        let odd = Tensor { raw_data: Some(Bytes::from_static(&[0; 7])), ..Tensor::float32("w", &[1], &[]) };
        assert!(odd.to_float32().is_err());
        assert!(Tensor::int64("i", &[1], &[1]).to_float32().unwrap_err().contains("int64"));
    }

    #[test]
    fn half_precision_keeps_its_range_and_never_makes_a_zero() {
        let single = Tensor::float32("w", &[6], &[1.0, 1e9, f32::NEG_INFINITY, 1e-12, -1e-30, 0.0]);
        let half = single.to_float16("h").unwrap();
        assert_eq!((half.name(), half.data_type()), ("h", element_type::FLOAT16));
        let smallest = 2f32.powi(-24);
        assert_eq!(half.to_float32().unwrap(), [1.0, 65504.0, -65504.0, smallest, -smallest, 0.0]);
    }
}
