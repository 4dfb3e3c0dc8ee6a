//! Draws lines on a frame in GPU memory.

use std::ffi::c_void;

use cudarc::driver::{DriverError, result, sys};

use super::library::MappedMut;
use crate::platform::nvrtc::load_kernels;

/// Samples of a tile across and down.
const SIDE: usize = 32;
/// Rows of a tile that a block paints at once.
const ROWS: u32 = 8;

/// A line with round ends; `Stroke` of `draw.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Stroke {
    from: [f32; 2],
    direction: [f32; 2],
    length: f32,
    radius: f32,
    paint: [u8; 4],
}

impl Stroke {
    /// In square pixels, finite, and clipped to the visible part; `paint` in the frame's own format.
    pub fn new(from: (f32, f32), to: (f32, f32), radius: f32, paint: [u8; 4]) -> Self {
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        // Direction of the line; for a disc, any direction is correct.
        let direction = if length > 0.0 { [dx / length, dy / length] } else { [1.0, 0.0] };
        Self { from: [from.0, from.1], direction, length, radius, paint }
    }
}

/// Components whose samples lie at the same positions; `Layer` of `draw.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
pub struct Layer {
    /// Addresses of the components' first samples.
    pub data: [u64; 4],
    /// In bytes.
    pub row_stride: i32,
    pub pixel_stride: i32,
    /// In samples.
    pub width: i32,
    pub height: i32,
    /// Square pixels between two samples, and the position of the first one: x and y.
    pub step: [f32; 2],
    pub origin: [f32; 2],
    pub components: i32,
    /// Which byte of the paint belongs to each component.
    pub part: [i32; 4],
}

/// A square of samples and its lines; `Tile` of `draw.cu`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[repr(C)]
struct Tile {
    x: i32,
    y: i32,
    first: i32,
    count: i32,
}

/// The tiles of a layer that lines touch, each with its lines in order.
#[derive(Debug, Default)]
pub(super) struct Tiles {
    tiles: Vec<Tile>,
    list: Vec<u32>,
}

impl Tiles {
    pub fn of(layer: &Layer, strokes: &[Stroke]) -> Self {
        let (columns, rows) = ((layer.width as usize).div_ceil(SIDE), (layer.height as usize).div_ceil(SIDE));
        let mut lines: Vec<Vec<u32>> = vec![Vec::new(); columns * rows];
        let softness = (layer.step[0] + layer.step[1]) / 2.0;
        for (number, stroke) in strokes.iter().enumerate() {
            let outer = stroke.radius + softness / 2.0;
            // From a sample before the line's box to one after it.
            let range = |axis: usize, count: usize| {
                let to = stroke.from[axis] + stroke.direction[axis] * stroke.length;
                let index = |position: f32| (position - layer.origin[axis]) / layer.step[axis] / SIDE as f32;
                let margin = outer + layer.step[axis];
                let first = index(stroke.from[axis].min(to) - margin).max(0.0) as usize;
                let end = index(stroke.from[axis].max(to) + margin).max(-1.0) + 1.0;
                first..(end as usize).min(count)
            };
            for row in range(1, rows) {
                for column in range(0, columns) {
                    lines[row * columns + column].push(number as u32);
                }
            }
        }
        let mut tiles = Self::default();
        for (index, lines) in lines.iter().enumerate().filter(|(_, lines)| !lines.is_empty()) {
            tiles.tiles.push(Tile {
                x: (index % columns * SIDE) as i32,
                y: (index / columns * SIDE) as i32,
                first: tiles.list.len() as i32,
                count: lines.len() as i32,
            });
            tiles.list.extend(lines);
        }
        tiles
    }
}

/// Draws on frames of one CUDA context, whichever element owns it.
pub struct Painter {
    context: sys::CUcontext,
    module: sys::CUmodule,
    kernel: sys::CUfunction,
    stream: sys::CUstream,
    /// The kernel's data.
    told: (sys::CUdeviceptr, usize),
    /// Keeps the context alive.
    _owner: gst::Object,
}

// SAFETY: handles that any thread may use whose current context is theirs.
unsafe impl Send for Painter {}

impl Painter {
    /// For frames in the context of this one.
    fn open(context: *mut c_void, owner: gst::Object) -> Result<Self, String> {
        let failed = |error: DriverError| format!("CUDA kernel \"draw\": {:?}", error.0);
        let context = context.cast();
        // SAFETY: the context lives as long as its owner.
        unsafe {
            result::ctx::set_current(context).map_err(failed)?;
            let (module, [kernel]) = load_kernels(c"draw", include_str!("draw.cu"), None, [c"draw"])?;
            match result::stream::create(result::stream::StreamKind::NonBlocking) {
                Ok(stream) => Ok(Self { context, module, kernel, stream, told: (0, 0), _owner: owner }),
                Err(error) => {
                    let _ = result::module::unload(module);
                    Err(failed(error))
                }
            }
        }
    }

    /// Draws on a frame with the painter of its context: `painter`, or a new one. Layers have places relative to the first
    /// byte of the frame's memory. Waits for the end.
    pub fn draw(
        painter: &mut Option<Self>,
        frame: &MappedMut<'_>,
        layers: &[Layer],
        strokes: &[Stroke],
    ) -> Result<(), String> {
        let context = frame.context();
        if painter.as_ref().is_none_or(|painter| painter.context != context.cast()) {
            *painter = None;
            *painter = Some(Self::open(context, frame.owner())?);
        }
        let painter = painter.as_mut().ok_or("no painter")?;
        let (address, bytes) = frame.place();
        for layer in layers {
            let mut layer = *layer;
            let last = |at: u64| {
                let rows = (layer.height as u64).saturating_sub(1) * layer.row_stride as u64;
                at + rows + (layer.width as u64).saturating_sub(1) * layer.pixel_stride as u64 + 1
            };
            if layer.data[..layer.components as usize].iter().any(|at| last(*at) > bytes) {
                return Err(format!("its offsets and strides leave its {bytes} bytes"));
            }
            layer.data.iter_mut().for_each(|at| *at += address);
            painter
                .draw_layer(&layer, strokes)
                .map_err(|error| format!("CUDA drawing on a frame: {:?}", error.0))?;
        }
        Ok(())
    }

    fn draw_layer(&mut self, layer: &Layer, strokes: &[Stroke]) -> Result<(), DriverError> {
        let Tiles { tiles, list } = Tiles::of(layer, strokes);
        if tiles.is_empty() {
            return Ok(());
        }
        let parts = [as_bytes(strokes), as_bytes(&tiles), as_bytes(&list)];
        let needed = parts.iter().map(|part| part.len()).sum::<usize>();
        // SAFETY: everything that the kernel reads lives until the stream has finished.
        unsafe {
            result::ctx::set_current(self.context)?;
            if self.told.1 < needed {
                let room = needed.next_power_of_two();
                self.forget()?;
                self.told = (result::malloc_sync(room)?, room);
            }
            let told = parts.concat();
            let places = self.places(strokes, &tiles);
            let begun = result::memcpy_htod_async(self.told.0, &told, self.stream)
                .and_then(|()| self.launch(layer, places, tiles.len()));
            begun.and(result::stream::synchronize(self.stream))
        }
    }

    /// Where on the GPU lines, tiles and their lists are.
    fn places(&self, strokes: &[Stroke], tiles: &[Tile]) -> [sys::CUdeviceptr; 3] {
        let tiles_at = self.told.0 + size_of_val(strokes) as u64;
        [self.told.0, tiles_at, tiles_at + size_of_val(tiles) as u64]
    }

    /// Starts to draw.
    ///
    /// # Safety
    /// The layer's frame and the data at these places live until the stream has finished.
    unsafe fn launch(
        &self,
        layer: &Layer,
        mut places: [sys::CUdeviceptr; 3],
        tiles: usize,
    ) -> Result<(), DriverError> {
        let mut layer = *layer;
        let [strokes_at, tiles_at, list_at] = &mut places;
        let mut parameters = [
            std::ptr::from_mut(&mut layer).cast(),
            std::ptr::from_mut(strokes_at).cast(),
            std::ptr::from_mut(tiles_at).cast(),
            std::ptr::from_mut(list_at).cast(),
        ];
        let (grid, block) = ((tiles as u32, 1, 1), (SIDE as u32, ROWS, 1));
        // SAFETY: the caller guarantees what the kernel reads and writes.
        unsafe { result::launch_kernel(self.kernel, grid, block, 0, self.stream, &mut parameters) }
    }

    /// Frees the room for the kernel's data.
    unsafe fn forget(&mut self) -> Result<(), DriverError> {
        match std::mem::take(&mut self.told) {
            (0, _) => Ok(()),
            (address, _) => unsafe { result::free_sync(address) },
        }
    }
}

impl Drop for Painter {
    fn drop(&mut self) {
        // SAFETY: all of it was made in this context, which its owner keeps, and nothing runs any more.
        unsafe {
            if result::ctx::set_current(self.context).is_ok() {
                let _ = self.forget();
                let _ = result::stream::destroy(self.stream);
                let _ = result::module::unload(self.module);
            }
        }
    }
}

fn as_bytes<T: Copy>(values: &[T]) -> &[u8] {
    // SAFETY: the structures have no gaps between their fields.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// For the tests: the kernel's data for a layer.
#[cfg(test)]
pub(super) type Told = (Vec<[i32; 4]>, Vec<u32>);

#[cfg(test)]
impl Tiles {
    pub fn told(self) -> Told {
        (self.tiles.iter().map(|tile| [tile.x, tile.y, tile.first, tile.count]).collect(), self.list)
    }
}

#[cfg(test)]
mod tests;
