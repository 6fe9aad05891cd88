//! How far apart the pixels of an image are.

/// The distance from a pixel to the next, in the order of the axes.
#[derive(Clone, Debug, PartialEq)]
pub struct Spacing {
    pub per_axis: Vec<f64>,
    /// As the file calls it, such as `mm`; empty where it says none.
    pub unit: String,
    /// Whether the file says it of all axes. A TIFF of several pages may say it of rows and columns only, as a resolution
    /// for printing: its slices are then taken as 1 apart.
    pub of_all_axes: bool,
}

impl Spacing {
    /// The numbers in another unit; as they are where one of both is no known unit of length.
    pub fn in_unit(&self, unit: &str) -> Vec<f64> {
        let factor = match (picometres(&self.unit), picometres(unit)) {
            (Some(own), Some(other)) => own / other,
            _ => 1.0,
        };
        self.per_axis.iter().map(|step| step * factor).collect()
    }
}

/// A unit of length, as NIfTI and ImageJ call them. (Whole numbers, so that the quotient of two is exact.)
fn picometres(unit: &str) -> Option<f64> {
    match unit {
        "m" => Some(1e12),
        "inch" | "in" => Some(2.54e10),
        "cm" => Some(1e10),
        "mm" => Some(1e9),
        "um" | "\u{b5}m" | "\u{3bc}m" | "\\u00B5m" | "micron" | "microns" | "micrometer"
        | "micrometers" | "micrometre" => Some(1e6),
        "nm" => Some(1e3),
        _ => None,
    }
}

/// "3,1,1 mm", with four digits of each number, in the order of the axes.
pub fn shown_spacing(per_axis: &[f64], unit: &str) -> String {
    let number = |step: &f64| {
        let digits = (3.0 - step.log10().floor()).clamp(0.0, 12.0) as usize;
        let text = format!("{step:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        }
    };
    let numbers: Vec<String> = per_axis.iter().map(number).collect();
    let numbers = numbers.join(",");
    match unit {
        "" => numbers,
        unit => format!("{numbers} {unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_units_of_length_are_converted() {
        let spacing = |unit: &str| Spacing {
            per_axis: vec![2.0, 0.5],
            unit: unit.into(),
            of_all_axes: true,
        };
        assert_eq!(spacing("mm").in_unit("um"), [2000.0, 500.0]);
        assert_eq!(spacing("micron").in_unit("mm"), [2e-3, 5e-4]);
        assert_eq!(spacing("inch").in_unit("mm"), [50.8, 12.7]);
        assert_eq!(spacing("micrometer").in_unit("um"), [2.0, 0.5]);
        assert_eq!(spacing("mm").in_unit("mm"), [2.0, 0.5]);
        assert_eq!(spacing("").in_unit("mm"), [2.0, 0.5]);
        assert_eq!(spacing("um").in_unit("pixel"), [2.0, 0.5]);
    }

    #[test]
    fn four_digits_are_shown() {
        let float = f64::from(0.7_f32);
        assert_eq!(shown_spacing(&[3.0, float, 10.0], "mm"), "3,0.7,10 mm");
        assert_eq!(
            shown_spacing(&[0.000_123_456, 1234.56], ""),
            "0.0001235,1235"
        );
    }
}
