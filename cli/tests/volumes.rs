//! Volumes: the same commands over three axes.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::images::{Bands, nifti, npy, tiff};
use support::{fail, folder, shown, succeed, words, write};

const SIZE: [usize; 3] = [12, 24, 40];
const SPACING: [f32; 3] = [2.0, 0.5, 0.25];

/// Bright boxes on a noisy ground, and where they are.
fn volume(seed: usize) -> [Vec<f32>; 2] {
    let [depth, height, width] = SIZE;
    let places =
        (0..depth * height * width).map(|n| [n / width / height, n / width % height, n % width]);
    let mask: Vec<f32> = places
        .map(|[z, y, x]| {
            f32::from(u8::from(
                ((z + seed) / 4).is_multiple_of(2) && ((y + x + 3 * seed) / 6).is_multiple_of(3),
            ))
        })
        .collect();
    let noise = |n: usize| ((n * 31 + seed * 17) % 50) as f32;
    let image = mask
        .iter()
        .enumerate()
        .map(|(n, mask)| 400.0 * mask + noise(n));
    [image.collect(), mask]
}

fn dataset(folder: &Path, ending: &str, encode: impl Fn(&[f32]) -> Vec<u8>) {
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    for seed in 0..2 {
        let [image, mask] = volume(seed);
        write(folder, &format!("images/{seed}.{ending}"), encode(&image));
        write(folder, &format!("masks/{seed}.{ending}"), encode(&mask));
    }
}

fn pages(values: &[f32]) -> Vec<u8> {
    let pages = values.chunks_exact(SIZE[1] * SIZE[2]);
    let pages = pages.map(|page| vec![page.iter().map(|&value| value as u16).collect()]);
    tiff(
        [SIZE[1] as u32, SIZE[2] as u32],
        &pages.collect::<Vec<_>>(),
        Bands::Planes,
    )
}

const NET: &str = r#"{"Unet": {"in_channels": 1, "widths": [4, 8], "out_channels": 1}}"#;
const TRAIN: &str =
    "train --quiet --epochs 2 --steps 20 --batch 2 --crop 8x16x16 --intensities z-score --data";

fn json(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

#[test]
fn volumes_are_trained_on_evaluated_and_predicted() {
    let out = folder("volumes");
    let (data, run) = (out.join("data"), shown(&out, "run"));
    dataset(&data, "nii", |values| nifti(&SIZE, &SPACING, values));
    let (net, path) = (write(&out, "net.json", NET), data.display().to_string());
    succeed(&words(TRAIN, &[&path, "--out", &run, &net]));
    let training = fs::read_to_string(out.join("run/training.json")).expect("a file");
    let training: Value = serde_json::from_str(&training).expect("JSON");
    assert_eq!(
        (training["axes"].as_u64(), &training["crop"]),
        (Some(3), &serde_json::json!([8, 16, 16]))
    );
    assert!(out.join("run/prediction.png").is_file());

    let text = succeed(&[
        "eval", "--json", "--valid", "--model", &run, "--data", &path,
    ]);
    let iou = json(&text)["iou"].as_f64().expect("an IoU");
    let trained = support::epochs(&out.join("run"))[1]["iou"]
        .as_f64()
        .expect("an IoU");
    assert!((iou - trained).abs() < 1e-6 && iou > 0.6, "{text}");

    // The prediction lies where the image does.
    let [image, labels] = ["images/1.nii", "masks/1.nii"].map(|name| shown(&data, name));
    let predict = |image: &str, more: &[&str]| {
        let words = [
            &["predict", "--json", "--model", &run, "--image", image][..],
            more,
        ]
        .concat();
        words.into_iter().map(String::from).collect::<Vec<_>>()
    };
    let [mask, picture] = ["m.nii", "p.png"].map(|name| shown(&out, name));
    let text = succeed(&predict(
        &image,
        &["--labels", &labels, "--mask", &mask, "--out", &picture],
    ));
    assert!(json(&text)["iou"].as_f64().expect("an IoU") > 0.6, "{text}");
    let [read, written] = [&image, &mask].map(|path| fs::read(path).expect("a file"));
    assert_eq!(written.len(), 352 + SIZE.iter().product::<usize>());
    for fields in [40..48, 76..108, 123..124, 252..328] {
        assert_eq!(written[fields.clone()], read[fields]);
    }

    // The format makes no difference, and tiles nearly none. What a file does not tell is told.
    let [values, _] = volume(1);
    let tif = write(&out, "1.tif", pages(&values));
    let array = write(&out, "1.npy", npy(&SIZE, &values));
    let spacing = ["--spacing", "2,0.5,0.25"];
    for other in [&tif, &array] {
        let mask_of_other = shown(&out, "other.tif");
        let files = ["--labels", &mask, "--mask", &mask_of_other];
        let text = succeed(&predict(other, &[&files[..], &spacing].concat()));
        assert_eq!(json(&text)["iou"], 1.0, "{other}");
        let files = ["--labels", &mask_of_other, "--out", &picture];
        let text = succeed(&predict(other, &[&files[..], &spacing].concat()));
        assert_eq!(json(&text)["iou"], 1.0, "{other}");
    }
    let tiles = [
        "--labels", &mask, "--tile", "8x16x16", "--mirror", "--out", &picture,
    ];
    let text = succeed(&predict(&image, &tiles));
    assert!(json(&text)["iou"].as_f64().expect("an IoU") > 0.8, "{text}");
    let spaced = shown(&out, "spaced.tif");
    succeed(&predict(&image, &["--mask", &spaced]));
    let bytes = fs::read(&spaced).expect("a file");
    let text = String::from_utf8_lossy(&bytes);
    assert!(
        text.contains("slices=12\nunit=mm\nspacing=2\n"),
        "no description"
    );

    // Instances lie there too, in 16 bits.
    let objects = shown(&out, "i.nii");
    let text = succeed(&predict(&image, &["--instances", &objects]));
    assert!(json(&text)["instances"].as_u64() > Some(0), "{text}");
    let written = fs::read(&objects).expect("a file");
    assert_eq!(written.len(), 352 + 2 * SIZE.iter().product::<usize>());
    assert_eq!(written[76..108], read[76..108]);

    let text = fail(&predict(&image, &["--mask", &shown(&out, "m.png")]));
    assert!(
        text.contains("a PNG holds no volume. Choose a name that ends in .tif"),
        "{text}"
    );
    let flat = write(
        &out,
        "flat.npy",
        npy(&SIZE[1..], &values[..SIZE[1] * SIZE[2]]),
    );
    let text = fail(&predict(&flat, &["--mask", &mask]));
    assert!(
        text.contains("flat.npy is 24 x 40 (height x width), which are 2 axes"),
        "{text}"
    );
    let weights = shown(&out, "w.safetensors");
    let onnx = shown(&out, "w.onnx");
    let export = ["export", "--model", &run, "--onnx", &onnx];
    let text = succeed(&[&export[..], &["--out", &weights]].concat());
    let shapes = "input [batch, 1, depth, height, width], output [batch, 1, depth, height, width]";
    assert!(text.trim().ends_with(shapes), "{text}");
    let text = succeed(&[&export[..], &["--fixed"]].concat());
    assert!(text.contains(": input [1, 1, 8, 16, 16], output"), "{text}");
    let text = fail(&[&export[..], &["--input", "1x1x32x32"]].concat());
    assert_eq!(
        text,
        "error: --input: it has 4 axes, and the network reads volumes: give batch, channels, depth, height and width"
    );
}

#[test]
fn a_training_on_volumes_goes_on_and_says_what_does_not_fit() {
    let out = folder("volumes_wrong");
    let (data, run) = (out.join("data"), shown(&out, "run"));
    dataset(&data, "tif", pages);
    let (net, path) = (write(&out, "net.json", NET), data.display().to_string());
    let train = |more: &[&str]| {
        let all = [&[&path, "--out", &run, &net][..], more].concat();
        words("train --quiet --steps 1 --batch 1 --data", &all)
    };
    // 32 is the default, and the volumes have 12 slices.
    let text = fail(&train(&[]));
    assert!(
        text.contains(
            "12 x 24 x 40 (depth x height x width), of which there are for training 12 x 24 x 30"
        ) && text.ends_with("and a crop is 32x32x32. Use larger images, or pass --crop 12x24x30."),
        "{text}"
    );
    let text = fail(&train(&["--crop", "8x16"]));
    assert!(
        text.contains("--crop 8x16 has 2 lengths, and the images have 3 axes"),
        "{text}"
    );
    let crop = ["--crop", "12x24x30"];
    succeed(&train(&[&crop[..], &["--epochs", "1"]].concat()));
    succeed(&train(&["--epochs", "2", "--resume"]));
    assert_eq!(support::epochs(Path::new(&run)).len(), 2);
    write(
        &data,
        "images/0.tif",
        tiff([24, 40], &[vec![vec![0; 960]]], Bands::Planes),
    );
    write(
        &data,
        "masks/0.tif",
        tiff([24, 40], &[vec![vec![0; 960]]], Bands::Planes),
    );
    let text = fail(&train(&[&crop[..], &["--overwrite"]].concat()));
    assert!(
        text.contains("which are 3 axes, and the other images have 2"),
        "{text}"
    );
}

/// With no memory for images all of them lie in files without a name, and the numbers are the same.
#[test]
fn images_that_are_not_kept_in_memory_give_the_same_numbers() {
    let out = folder("volumes_scratch");
    let data = out.join("data");
    let packed = |bytes: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, bytes).expect("a gzip file");
        encoder.finish().expect("a gzip file")
    };
    dataset(&data, "nii.gz", |values| {
        packed(&nifti(&SIZE, &SPACING, values))
    });
    let (net, path) = (write(&out, "net.json", NET), data.display().to_string());
    let image = shown(&data, "images/1.nii.gz");
    let labels = shown(&data, "masks/1.nii.gz");
    let results = ["2", "0"].map(|gib| {
        let run = shown(&out, &format!("run{gib}"));
        let memory = ["--memory-for-images", gib];
        let more = [
            &[&path, "--out", &run, "--foreground", "0.5", &net][..],
            &memory,
        ];
        succeed(&words(TRAIN, &more.concat()));
        let files = ["mask.nii.gz", "map.npy", "objects.tif"];
        let [mask, map, objects] = files.map(|name| shown(&out, &format!("{gib}-{name}")));
        let predict = ["predict", "--json", "--model", &run, "--image", &image];
        let written = [
            "--labels",
            &labels,
            "--mask",
            &mask,
            "--probabilities",
            &map,
            "--instances",
            &objects,
        ];
        let scores = json(&succeed(&[&predict[..], &written, &memory].concat()));
        let eval = ["eval", "--json", "--valid", "--model", &run];
        let judged = json(&succeed(&[&eval[..], &memory].concat()));
        let bytes = [mask, map, objects].map(|file| fs::read(file).expect("a file"));
        (
            support::epochs(Path::new(&run)),
            scores["iou"].clone(),
            judged["iou"].clone(),
            bytes,
        )
    });
    let [memory, files] = results;
    assert!(memory.1.as_f64() > Some(0.6), "{}", memory.1);
    assert!(memory == files, "{:?} {:?}", memory.0, files.0);
    // Nothing is left of the files.
    let left = fs::read_dir(out.join("run0")).expect("a folder");
    let left = left.filter_map(|file| file.ok().map(|file| file.file_name()));
    assert!(
        left.into_iter()
            .all(|name| !name.to_string_lossy().starts_with('.'))
    );

    let predict = [
        "predict",
        "--model",
        &shown(&out, "run2"),
        "--image",
        &image,
    ];
    let nowhere = [
        "--mask",
        &shown(&out, "m.nii"),
        "--memory-for-images",
        "0",
        "--scratch",
        &shown(&out, "nowhere"),
    ];
    let text = fail(&[&predict[..], &nowhere].concat());
    assert!(
        text.contains("cannot keep 45.0 KiB of an image in a file in")
            && text.contains("--scratch DIR"),
        "{text}"
    );
}
