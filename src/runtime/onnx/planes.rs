//! A crop's colours one after the other, as a model's first operators need them. ONNX Runtime's Transpose takes over ten times
//! as long for it on a CPU.

/// Splits RGB pixels into a plane of each colour. Both slices have the same length.
pub(super) fn split(rgb: &[u8], planes: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        return unsafe { split_by_avx2(rgb, planes) };
    }
    split_by_any(rgb, planes);
}

/// The same code, for which the compiler chooses AVX2's instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn split_by_avx2(rgb: &[u8], planes: &mut [u8]) {
    split_by_any(rgb, planes);
}

#[inline(always)]
fn split_by_any(rgb: &[u8], planes: &mut [u8]) {
    let (pixels, _) = rgb.as_chunks::<3>();
    let (red, others) = planes.split_at_mut(pixels.len());
    let (green, blue) = others.split_at_mut(pixels.len());
    for (((pixel, red), green), blue) in pixels.iter().zip(red).zip(green).zip(blue) {
        [*red, *green, *blue] = *pixel;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_split_whatever_the_size() {
        for pixels in [0, 1, 2, 31, 32, 33, 1000] {
            let rgb: Vec<u8> = (0..pixels * 3).map(|index| (index * 7 % 251) as u8).collect();
            let expected: Vec<u8> =
                (0..3).flat_map(|colour| rgb.iter().skip(colour).step_by(3).copied()).collect();
            let (mut fast, mut plain) = (vec![0; rgb.len()], vec![0; rgb.len()]);
            split(&rgb, &mut fast);
            split_by_any(&rgb, &mut plain);
            assert_eq!((&fast, &plain), (&expected, &expected), "{pixels} pixels");
        }
    }
}
