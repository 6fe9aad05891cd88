//! A mask whose header says that it lies elsewhere than its image: it is that of another image.

mod support;

use std::fs;

use support::images::nifti;
use support::{fail, folder, shown, succeed, words, write};

const SIZE: [usize; 3] = [8, 16, 24];
const SPACING: [f32; 3] = [2.0, 1.0, 0.5];

/// Where fields of a header lie, and what of the affine one is.
const XYZT_UNITS: usize = 123;
const SFORM_CODE: usize = 254;
const SROW: usize = 280;

fn image() -> Vec<u8> {
    let count = SIZE.iter().product();
    let values: Vec<f32> = (0..count).map(|n| (n * 31 % 97) as f32).collect();
    placed(nifti(&SIZE, &SPACING, &values), [5.0, 6.0, 7.0])
}

/// A mask with another spacing and at another place.
fn mask(spacing: [f32; 3], offset: [f32; 3]) -> Vec<u8> {
    let count = SIZE.iter().product();
    let values: Vec<f32> = (0..count)
        .map(|n| f32::from(u8::from(n % 5 == 0)))
        .collect();
    placed(nifti(&SIZE, &spacing, &values), offset)
}

fn placed(mut file: Vec<u8>, offset: [f32; 3]) -> Vec<u8> {
    for row in 0..3 {
        let mut numbers = [0.0; 4];
        numbers[row] = SPACING[2 - row];
        numbers[3] = offset[row];
        for (n, number) in numbers.into_iter().enumerate() {
            let at = SROW + 16 * row + 4 * n;
            file[at..at + 4].copy_from_slice(&f32::to_le_bytes(number));
        }
    }
    file
}

/// A file of NumPy or a program that writes no header of its own: one unit of nothing between all pixels.
fn without_header(mut file: Vec<u8>) -> Vec<u8> {
    file[SFORM_CODE] = 0;
    file[XYZT_UNITS] = 0;
    for axis in 0..3 {
        file[80 + 4 * axis..84 + 4 * axis].copy_from_slice(&1.0_f32.to_le_bytes());
    }
    file
}

#[test]
fn it_is_refused_with_both_files_and_the_numbers() {
    let out = folder("mask_headers");
    let (data, run) = (shown(&out, "data"), shown(&out, "run"));
    for part in ["images", "masks"] {
        fs::create_dir_all(out.join("data").join(part)).expect("a folder");
    }
    let image = write(&out, "data/images/a.nii", image());
    let net = r#"{"Unet": {"in_channels": 1, "widths": [2], "out_channels": 1}}"#;
    let net = write(&out, "net.json", net);
    let train = words(
        "train --quiet --overwrite --epochs 1 --steps 1 --batch 1 --crop 8 --out",
        &[&run, "--data", &data, &net],
    );
    let write_mask = |file: Vec<u8>| write(&out, "data/masks/a.nii", file);

    write_mask(mask([2.0, 1.0, 1.0], [5.0, 6.0, 7.0]));
    let spacing = "masks/a.nii does not lie where";
    let numbers = "images/a.nii does: the spacing of the image is 2,1,0.5 mm (depth,height,width), that of the mask \
                   2,1,1 mm. Take the mask of this image. If it is, write the spacing of this image into it.";
    let text = fail(&train);
    assert!(text.contains(spacing) && text.contains(numbers), "{text}");
    let text = fail(&words("plan-data --out", &[&shown(&out, "plan"), &data]));
    assert!(text.contains(numbers), "{text}");
    let remedy = "So it is with 1 of 1 masks. With nibabel, this line copies";
    assert!(
        text.contains(remedy) && text.contains("nib.load(image).affine), mask)"),
        "{text}"
    );

    write_mask(mask(SPACING, [5.0, 6.0, 9.0]));
    let text = fail(&train);
    assert!(
        text.contains(
            "by the header of the image, the pixel at column 0, row 0, slice 0 is at x, y, z = 5.00, 6.00, 7.00, by \
             that of the mask at 5.00, 6.00, 9.00. Take the mask of this image. If it is, copy the sform and the qform of this image into it."
        ),
        "{text}"
    );

    // What another program rounds is no difference, nor is what a file does not tell.
    write_mask(mask([2.000_4, 1.0, 0.500_02], [5.000_1, 6.0, 6.999_9]));
    succeed(&train);
    write_mask(without_header(mask(SPACING, [50.0, 6.0, 9.0])));
    succeed(&train);

    let labels = write(&out, "labels.nii", mask(SPACING, [50.0, 6.0, 7.0]));
    let predict = ["predict", "--model", &run, "--image", &image, "--mask"];
    let predicted = shown(&out, "m.nii");
    let text = fail(&[&predict[..], &[&predicted, "--labels", &labels]].concat());
    assert!(text.contains("labels.nii does not lie where"), "{text}");
    // A prediction lies where its image does.
    succeed(&[&predict[..], &[&predicted]].concat());
    succeed(
        &[
            &predict[..],
            &[&shown(&out, "n.nii"), "--labels", &predicted],
        ]
        .concat(),
    );
    write_mask(mask(SPACING, [5.0, 60.0, 7.0]));
    let text = fail(&["eval", "--model", &run, "--data", &data]);
    assert!(text.contains("masks/a.nii does not lie where"), "{text}");
}
