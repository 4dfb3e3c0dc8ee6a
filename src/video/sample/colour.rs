//! From interpolated rows of components to rows of RGB.

/// Fraction bits of the interpolated rows: enough that converting them adds no rounding.
pub(super) const ROW_BITS: u32 = 6;
/// Fraction bits of the matrix: its largest entry (about 2.3) must fit into i16.
pub(super) const MATRIX_BITS: u32 = 13;

/// What a picture's three components mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Colour {
    Rgb,
    /// Limited range: 16 is black, 235 white.
    LimitedRgb,
    /// Full range, in the first component. Limited-range grey is `Yuv` with two components of 1x1 sample, 128.
    Gray,
    Yuv(YuvMatrix),
}

/// How Y'CbCr becomes R'G'B', 8 bits each (ITU-T H.273, equations for MatrixCoefficients and VideoFullRangeFlag).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct YuvMatrix {
    pub(super) y: i16,
    pub(super) v_to_r: i16,
    pub(super) u_to_g: i16,
    pub(super) v_to_g: i16,
    pub(super) u_to_b: i16,
    /// The value of Y for black.
    pub(super) black: i16,
}

impl Colour {
    /// Whether the components are red, green and blue.
    pub fn is_rgb(self) -> bool {
        matches!(self, Self::Rgb | Self::LimitedRgb)
    }
}

/// Black in limited range; values above it times 255 / 219, with `MATRIX_BITS` fraction bits, give full range.
pub(super) const LIMITED_BLACK: i16 = 16;
pub(super) const LIMITED_TO_FULL: i16 = ((255 << MATRIX_BITS) as f64 / 219.0 + 0.5) as i16;

/// A level with `ROW_BITS` fraction bits, limited to 0..=255, from a sum of products with `MATRIX_BITS` more.
fn level(sum: i32) -> i16 {
    (sum >> MATRIX_BITS).clamp(0, 255 << ROW_BITS) as i16
}

impl YuvMatrix {
    /// From the shares of red and blue in luma. Impossible shares (not finite, below 0, or no green left) are replaced by
    /// BT.601's.
    pub fn new(kr: f64, kb: f64, full_range: bool) -> Self {
        let possible = kr >= 0.0 && kb >= 0.0 && kr + kb <= 0.99;
        let (kr, kb) = if possible { (kr, kb) } else { (0.299, 0.114) };
        let kg = 1.0 - kr - kb;
        let (luma, chroma) = if full_range { (1.0, 1.0) } else { (255.0 / 219.0, 255.0 / 224.0) };
        // The casts saturate, so that even an absurd matrix only gives an absurd colour.
        let fixed = |value: f64| (value * f64::from(1 << MATRIX_BITS)).round() as i16;
        Self {
            y: fixed(luma),
            v_to_r: fixed(2.0 * (1.0 - kr) * chroma),
            u_to_g: fixed(-2.0 * (1.0 - kb) * kb / kg * chroma),
            v_to_g: fixed(-2.0 * (1.0 - kr) * kr / kg * chroma),
            u_to_b: fixed(2.0 * (1.0 - kb) * chroma),
            black: if full_range { 0 } else { 16 },
        }
    }

    /// Converts rows of Y, U, V to rows of R, G, B. Separate from writing bytes, because this loop vectorises.
    fn convert(&self, first: &mut [i16], second: &mut [i16], third: &mut [i16]) {
        // i16 x i16 -> i32 is what vector units multiply fastest.
        let times = |a: i16, b: i16| i32::from(a) * i32::from(b);
        let (black, middle) = (self.black << ROW_BITS, 128 << ROW_BITS);
        for ((first, second), third) in first.iter_mut().zip(second).zip(third) {
            let (y, u, v) = (times(*first - black, self.y), *second - middle, *third - middle);
            *first = level(y + times(v, self.v_to_r));
            *second = level(y + times(u, self.u_to_g) + times(v, self.v_to_g));
            *third = level(y + times(u, self.u_to_b));
        }
    }

    /// Factors of Y; V to R; U to G; V to G; U to B, each with 13 fraction bits; and the value of Y for black.
    pub(in crate::video) fn entries(&self) -> [i32; 6] {
        [self.y, self.v_to_r, self.u_to_g, self.v_to_g, self.u_to_b, self.black].map(i32::from)
    }

    pub fn bt601(full_range: bool) -> Self {
        Self::new(0.299, 0.114, full_range)
    }

    pub fn bt709(full_range: bool) -> Self {
        Self::new(0.2126, 0.0722, full_range)
    }

    pub fn bt2020(full_range: bool) -> Self {
        Self::new(0.2627, 0.0593, full_range)
    }
}

/// Writes one row of RGB from rows of components (R, G, B or Y, U, V) with `ROW_BITS` fraction bits, all of the same length.
/// Rows of YUV and of limited range are converted to RGB in place.
pub(super) fn write_rgb(colour: Colour, rows: [&mut [i16]; 3], out: &mut [u8]) {
    let [first, second, third] = rows;
    match colour {
        Colour::Yuv(matrix) => matrix.convert(first, second, third),
        Colour::LimitedRgb => {
            for value in first.iter_mut().chain(&mut *second).chain(&mut *third) {
                *value = level(i32::from(*value - (LIMITED_BLACK << ROW_BITS)) * i32::from(LIMITED_TO_FULL));
            }
        }
        Colour::Rgb | Colour::Gray => {}
    }
    let byte = |value: i16| ((value + (1 << (ROW_BITS - 1))) >> ROW_BITS) as u8;
    let (out, _) = out.as_chunks_mut::<3>();
    if colour == Colour::Gray {
        for (rgb, y) in out.iter_mut().zip(first) {
            *rgb = [byte(*y); 3];
        }
    } else {
        for (((rgb, r), g), b) in out.iter_mut().zip(first).zip(second).zip(third) {
            *rgb = [byte(*r), byte(*g), byte(*b)];
        }
    }
}
