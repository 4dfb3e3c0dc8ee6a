//! Numbers and choices taken from the bytes of an input; after their end all are 0.

use gst::glib;

pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next bytes, fewer at the end.
    pub fn take(&mut self, count: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(count.min(self.0.len()));
        self.0 = rest;
        taken
    }

    fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        let taken = self.take(N);
        array[..taken.len()].copy_from_slice(taken);
        array
    }

    pub fn byte(&mut self) -> u8 {
        u8::from_le_bytes(self.array())
    }

    pub fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub fn i64(&mut self) -> i64 {
        i64::from_le_bytes(self.array())
    }

    /// Any number, also those that are not finite.
    pub fn f64(&mut self) -> f64 {
        f64::from_le_bytes(self.array())
    }

    /// The numbers of everyday life, and the borders of what there is.
    pub fn f32(&mut self) -> f32 {
        const BORDERS: [f32; 8] =
            [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN, f32::MIN_POSITIVE, -0.0, 1e9];
        match self.byte() {
            border @ 0..8 => BORDERS[usize::from(border)],
            8..32 => f32::from_le_bytes(self.array()),
            _ => f32::from(i16::from_le_bytes(self.array())) / 16.0,
        }
    }

    pub fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    pub fn chance(&mut self, one_in: u8) -> bool {
        self.below(one_in) == one_in - 1
    }

    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::from(self.byte()) % choices.len()]
    }

    /// A short text without zeros.
    pub fn text(&mut self) -> String {
        let length = usize::from(self.byte());
        String::from_utf8_lossy(self.take(length)).replace('\0', "")
    }

    /// A value of any type that a structure's field may have.
    pub fn value(&mut self) -> glib::SendValue {
        use gst::prelude::*;
        match self.below(14) {
            0 => self.u32().to_send_value(),
            1 => (self.u32() as i32).to_send_value(),
            2 => self.i64().to_send_value(),
            3 => (self.i64() as u64).to_send_value(),
            4 => self.f64().to_send_value(),
            5 => self.f32().to_send_value(),
            6 => self.chance(2).to_send_value(),
            7 => self.text().to_send_value(),
            8 => None::<String>.to_send_value(),
            9 => None::<glib::Bytes>.to_send_value(),
            10 => gst::Structure::new_empty("nested").to_send_value(),
            11 => gst::Array::new([self.u32()]).to_send_value(),
            12 => gst::Fraction::new(self.u16().into(), 1).to_send_value(),
            _ => {
                let length = usize::from(self.u16());
                glib::Bytes::from(self.take(length)).to_send_value()
            }
        }
    }
}
