//! Sizes: how large a rendition becomes, which part of the picture it shows, and how much of the picture it needs.

use crate::{Error, Fit, Limits, Rendition};

/// A part of a picture, as fractions of its width and height.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Part {
    pub left: f64,
    pub top: f64,
    pub width: f64,
    pub height: f64,
}

impl Part {
    pub const ALL: Self = Self {
        left: 0.0,
        top: 0.0,
        width: 1.0,
        height: 1.0,
    };

    fn centre(width: f64, height: f64) -> Self {
        let (width, height) = (width.min(1.0), height.min(1.0));
        Self {
            left: (1.0 - width) / 2.0,
            top: (1.0 - height) / 2.0,
            width,
            height,
        }
    }
}

/// What becomes of a picture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Layout {
    pub width: u32,
    pub height: u32,
    pub part: Part,
}

impl Layout {
    /// For a picture of this size, as people see it.
    pub fn new((width, height): (u32, u32), rendition: &Rendition, limits: &Limits) -> Result<Self, Error> {
        let layout = Self::of((width.into(), height.into()), rendition);
        limits.check_size(layout.width.into(), layout.height.into())?;
        Ok(layout)
    }

    fn of((width, height): (f64, f64), rendition: &Rendition) -> Self {
        let across = f64::from(rendition.width.max(1));
        let down = f64::from(rendition.height.max(1));
        let pixels = |size: f64| size.round().max(1.0) as u32;
        match rendition.fit {
            Fit::Contain => {
                let scale = (across / width).min(down / height).min(1.0);
                Self {
                    width: pixels(width * scale),
                    height: pixels(height * scale),
                    part: Part::ALL,
                }
            }
            Fit::Cover => {
                // The largest part with the proportions of the box.
                let scale = (width / across).min(height / down);
                let part = Part::centre(across * scale / width, down * scale / height);
                let scale = scale.min(1.0);
                Self {
                    width: pixels(across * scale),
                    height: pixels(down * scale),
                    part,
                }
            }
            Fit::Fill => Self {
                width: pixels(across),
                height: pixels(down),
                part: Part::ALL,
            },
        }
    }

    /// The same for the picture as stored, where that is turned by a quarter.
    pub fn stored(self, swaps_sides: bool) -> Self {
        if !swaps_sides {
            return self;
        }
        let Part {
            left,
            top,
            width,
            height,
        } = self.part;
        let part = Part {
            left: top,
            top: left,
            width: height,
            height: width,
        };
        Self {
            width: self.height,
            height: self.width,
            part,
        }
    }

    /// How large the whole picture has to be so that the part is as large as the result.
    pub fn wanted(&self) -> (u32, u32) {
        let whole = |size: u32, fraction: f64| (f64::from(size) / fraction - 1e-6).ceil() as u32;
        (
            whole(self.width, self.part.width),
            whole(self.height, self.part.height),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OutputFormat;

    fn size(picture: (u32, u32), width: u32, height: u32, fit: Fit) -> (u32, u32, (u32, u32)) {
        let rendition = Rendition {
            name: String::new(),
            width,
            height,
            fit,
            format: OutputFormat::Auto,
            quality: 80,
        };
        let layout = Layout::new(picture, &rendition, &Limits::default()).unwrap();
        (layout.width, layout.height, layout.wanted())
    }

    #[test]
    fn contain_keeps_proportions_and_never_enlarges() {
        assert_eq!(size((4000, 3000), 512, 512, Fit::Contain), (512, 384, (512, 384)));
        assert_eq!(size((3000, 4000), 512, 512, Fit::Contain), (384, 512, (384, 512)));
        assert_eq!(size((100, 50), 512, 512, Fit::Contain), (100, 50, (100, 50)));
        assert_eq!(size((20_000, 1), 100, 100, Fit::Contain), (100, 1, (100, 1)));
    }

    #[test]
    fn cover_cuts_evenly_and_never_enlarges() {
        assert_eq!(size((4000, 3000), 300, 300, Fit::Cover), (300, 300, (400, 300)));
        assert_eq!(size((200, 100), 300, 300, Fit::Cover), (100, 100, (200, 100)));
        assert_eq!(size((4000, 3000), 400, 100, Fit::Cover), (400, 100, (400, 300)));
    }

    #[test]
    fn fill_stretches() {
        assert_eq!(size((40, 30), 300, 200, Fit::Fill), (300, 200, (300, 200)));
    }
}
