//! Volumes of different spacings: trained on in one, and predicted in the size of each file.

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use support::images::{nifti, npy};
use support::{epochs, fail, folder, run, shown, succeed, words, write};

/// The lengths of the scene, in millimetres: depth, height, width.
const SCENE: [f32; 3] = [16.0, 24.0, 40.0];

/// The sizes and spacings of three views of the scene. The median of the spacings is 2, 1 and 1.
const VIEWS: [([usize; 3], [f32; 3]); 3] = [
    ([16, 24, 40], [1.0, 1.0, 1.0]),
    ([8, 24, 32], [2.0, 1.0, 1.25]),
    ([8, 30, 40], [2.0, 0.8, 1.0]),
];

/// A view that none of them is.
const OTHER: ([usize; 3], [f32; 3]) = ([12, 16, 50], [1.333_333_4, 1.5, 0.8]);

/// Bright ellipsoids on a noisy ground, and where they are, on the grid of a view.
fn view((size, spacing): ([usize; 3], [f32; 3])) -> [Vec<f32>; 2] {
    const MIDDLES: [[f32; 3]; 4] = [
        [5.0, 7.0, 8.0],
        [10.0, 16.0, 16.0],
        [7.0, 8.0, 26.0],
        [9.0, 15.0, 34.0],
    ];
    const RADII: [f32; 3] = [4.5, 5.5, 4.5];
    let [depth, height, width] = size;
    let inside = |n: usize| {
        let at = [n / width / height, n / width % height, n % width];
        let at = [0, 1, 2].map(|axis| (at[axis] as f32 + 0.5) * spacing[axis]);
        MIDDLES.iter().any(|middle| {
            let off = |axis: usize| ((at[axis] - middle[axis]) / RADII[axis]).powi(2);
            off(0) + off(1) + off(2) < 1.0
        })
    };
    let mask: Vec<f32> = (0..depth * height * width)
        .map(|n| f32::from(u8::from(inside(n))))
        .collect();
    let noise = |n: usize| ((n * 31 + 17) % 50) as f32;
    let values = mask.iter().enumerate();
    let image = values.map(|(n, mask)| 400.0 * mask + noise(n)).collect();
    [image, mask]
}

fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// The views in files of NIfTI.
fn dataset(folder: &Path) -> String {
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    for (index, (size, spacing)) in VIEWS.into_iter().enumerate() {
        for (part, values) in ["images", "masks"].into_iter().zip(view((size, spacing))) {
            let file = packed(&nifti(&size, &spacing, &values));
            write(folder, &format!("{part}/{index}.nii.gz"), file);
        }
    }
    folder.display().to_string()
}

const NET: &str = r#"{"Unet": {"in_channels": 1, "widths": [4, 8], "out_channels": 1}}"#;
const TRAIN: &str =
    "train --quiet --steps 20 --batch 2 --crop 8x16x16 --intensities z-score --data";

fn last(text: &str) -> Value {
    serde_json::from_str(text.lines().last().expect("a line")).expect("JSON")
}

fn iou(text: &str) -> f64 {
    last(text)["iou"].as_f64().expect("an IoU")
}

fn training(out: &Path) -> Value {
    let text = fs::read_to_string(out.join("training.json")).expect("a file");
    serde_json::from_str(&text).expect("JSON")
}

#[test]
fn volumes_are_trained_on_in_their_median_spacing_and_predicted_in_their_own() {
    for (size, spacing) in VIEWS {
        for axis in 0..3 {
            assert!((size[axis] as f32 * spacing[axis] - SCENE[axis]).abs() < 1e-3);
        }
    }
    let out = folder("spacing");
    let data = dataset(&out.join("data"));
    let (net, model) = (write(&out, "net.json", NET), shown(&out, "run"));
    let text = succeed(&words(
        "train --dry-run --crop 8x16x16 --data",
        &[&data, "--out", &model, &net],
    ));
    assert!(
        text.contains(
            "resampling to the spacing 2,1,1 mm (depth,height,width), the median (--spacing keep trains on voxels as they are): 3 images of another size"
        ),
        "{text}"
    );
    succeed(&words(
        TRAIN,
        &[&data, "--out", &model, "--epochs", "2", &net],
    ));
    let options = training(&out.join("run"));
    assert_eq!(options["spacing"], "Auto");
    let target = json!({ "per_axis": [2.0, 1.0, 1.0], "unit": "mm" });
    assert_eq!(options["target_spacing"], target);

    // Both on the grids of the files.
    let text = succeed(&words("eval --json --model", &[&model, "--data", &data]));
    assert!(iou(&text) > 0.6, "{text}");
    let text = succeed(&words("eval --json --valid --model", &[&model]));
    assert!(iou(&text) > 0.5, "{text}");

    // A prediction has the size, the spacing and the position of the file.
    let (size, spacing) = OTHER;
    let [image, labels] = view(OTHER);
    let image = write(&out, "other.nii", nifti(&size, &spacing, &image));
    let labels = write(&out, "truth.nii", nifti(&size, &spacing, &labels));
    let [mask, map, objects, picture] =
        ["m.nii", "p.nii", "i.nii", "p.png"].map(|name| shown(&out, name));
    let predict = ["predict", "--json", "--image", &image, "--labels", &labels];
    let written = [
        "--mask",
        &mask,
        "--probabilities",
        &map,
        "--instances",
        &objects,
        "--out",
        &picture,
    ];
    let text = succeed(&[&predict[..], &["--model", &model], &written].concat());
    assert!(iou(&text) > 0.6, "{text}");
    let pixels: usize = size.iter().product();
    let read = fs::read(&image).expect("a file");
    for (file, bytes) in [(&mask, 1), (&map, 4), (&objects, 2)] {
        let written = fs::read(file).expect("a file");
        assert_eq!(written.len(), 352 + bytes * pixels, "{file}");
        for fields in [42..48, 80..92, 123..124, 252..328] {
            assert_eq!(written[fields.clone()], read[fields], "{file}");
        }
    }
    let probabilities = &fs::read(&map).expect("a file")[352..];
    let foreground = probabilities.chunks_exact(4).map(|bytes| {
        let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert!((0.0..=1.0).contains(&value));
        u8::from(value >= 0.5)
    });
    let written = fs::read(&mask).expect("a file");
    assert!(foreground.eq(written[352..].iter().copied()));

    // Networks of two spacings together.
    let second = shown(&out, "second");
    let options = ["--out", &second, "--epochs", "2", "--spacing", "1.5", &net];
    succeed(&words(TRAIN, &[&[data.as_str()][..], &options].concat()));
    let target = &training(Path::new(&second))["target_spacing"]["per_axis"];
    assert_eq!(*target, json!([1.5, 1.5, 1.5]));
    let both = ["--model", &model, "--model", &second, "--mask", &mask];
    let text = succeed(&[&predict[..], &both].concat());
    assert!(iou(&text) > 0.6, "{text}");

    // The same of two classes.
    let net_of_two = write(
        &out,
        "two.json",
        NET.replace("\"out_channels\": 1", "\"out_channels\": 2"),
    );
    let two = shown(&out, "two");
    let options = ["--out", &two, "--epochs", "2", &net_of_two];
    succeed(&words(TRAIN, &[&[data.as_str()][..], &options].concat()));
    let written = ["--model", &two, "--mask", &mask, "--probabilities", &map];
    let text = succeed(&[&predict[..], &written].concat());
    assert!(iou(&text) > 0.5, "{text}");
    let probabilities = fs::read(&map).expect("a file");
    let probabilities = probabilities[352..].chunks_exact(4);
    let probabilities: Vec<f32> = probabilities
        .map(|bytes| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
        .collect();
    let (background, foreground) = probabilities.split_at(pixels);
    let classes = &fs::read(&mask).expect("a file")[352..];
    for ((background, foreground), class) in background.iter().zip(foreground).zip(classes) {
        assert!((background + foreground - 1.0).abs() < 1e-5);
        assert_eq!(*class, u8::from(foreground > background));
    }

    // A training goes on in its spacing, and in no other.
    succeed(&words(
        TRAIN,
        &[&data, "--out", &model, "--resume", "--epochs", "3"],
    ));
    assert_eq!(epochs(Path::new(&model)).len(), 3);
    let resume = ["--out", &model, "--resume", "--spacing", "keep"];
    let text = fail(&words(TRAIN, &[&[data.as_str()][..], &resume].concat()));
    assert!(text.contains("--resume: --spacing differs"), "{text}");

    // A training of a version without the option kept the voxels, and predicts them.
    let mut old = training(&out.join("run"));
    let fields = old.as_object_mut().expect("an object");
    fields.remove("spacing");
    fields.remove("target_spacing");
    write(&out, "run/training.json", old.to_string());
    let array = write(&out, "other.npy", npy(&size, &view(OTHER)[0]));
    succeed(&words(
        "predict --model",
        &[&model, "--image", &array, "--mask", &mask],
    ));
}

#[test]
fn what_is_proposed_is_planned_for_resampled_volumes() {
    let out = folder("spacing_plan");
    let data = dataset(&out.join("data"));
    let plan = shown(&out, "plan");
    let options = "plan-data --width 4 --memory 0.5 --out";
    let text = succeed(&words(options, &[&plan, &data]));
    let line = "resampling: to the spacing 2,1,1 mm (depth,height,width), the median: 3 of 3 volumes change in size, and \
                the median is 8x24x40 pixels then";
    assert!(text.contains(line), "{text}");
    let written = fs::read_to_string(out.join("plan/train.json")).expect("a file");
    let written: Value = serde_json::from_str(&written).expect("JSON");
    assert_eq!(written["spacing"], json!({ "To": [2.0, 1.0, 1.0] }));
    let crop = written["crop"].as_array().expect("lengths");
    let crop: Vec<_> = crop.iter().filter_map(Value::as_u64).collect();
    assert!(crop[0] <= 8 && crop[1] <= 24 && crop[2] <= 30, "{crop:?}");
    // Other choices are those of a training, and what is written says which it was.
    for (choice, written, line) in [
        ("keep", json!("Keep"), "resampling: none, as asked for"),
        (
            "2",
            json!({ "To": [2.0, 2.0, 2.0] }),
            "resampling: to the spacing 2,2,2 mm (depth,height,width), as asked for: 3 of 3 volumes",
        ),
        ("median", json!({ "To": [2.0, 1.0, 1.0] }), line),
    ] {
        let plan = shown(&out, choice);
        let text = succeed(&words(options, &[&plan, &data, "--spacing", choice]));
        assert!(text.contains(line), "{text}");
        let options = fs::read_to_string(Path::new(&plan).join("train.json")).expect("a file");
        let options: Value = serde_json::from_str(&options).expect("JSON");
        assert_eq!(options["spacing"], written, "{choice}");
    }
    let vanishing = ["--spacing", "1e5", "--overwrite"];
    let text = fail(&words(
        options,
        &[&[plan.as_str(), &data][..], &vanishing].concat(),
    ));
    assert!(text.contains("less than half a pixel in depth"), "{text}");
    let [net, options] = ["plan/net.json", "plan/train.json"].map(|name| shown(&out, name));
    let text = succeed(&words(
        "train --dry-run --data",
        &[
            &data,
            &net,
            "--options",
            &options,
            "--out",
            &shown(&out, "run"),
        ],
    ));
    assert!(
        text.contains("mm (depth,height,width), as asked for"),
        "{text}"
    );
}

#[test]
fn what_does_not_fit_is_said_with_what_to_do() {
    let out = folder("spacing_wrong");
    let folder = out.join("data");
    let data = dataset(&folder);
    let net = write(&out, "net.json", NET);
    let model = shown(&out, "run");
    let train_crops = |crop: &str, more: &[&str]| {
        let all = [&[&data, "--out", &model, &net, "--crop", crop][..], more].concat();
        words("train --quiet --steps 1 --epochs 1 --batch 1 --data", &all)
    };
    let train = |more: &[&str]| train_crops("8x16x16", more);
    let text = fail(&train(&["--spacing", "2,1"]));
    assert_eq!(
        text,
        "error: --spacing 2,1 has 2 numbers, and the images have 3 axes. Give one, or 3 in the order depth,height,width."
    );
    for wrong in ["0", "2,-1,1", "mean"] {
        let output = run(&train(&["--spacing", wrong]));
        assert_eq!(output.status.code(), Some(2), "{wrong}");
    }
    let text = fail(&train(&["--spacing", "0.01"]));
    assert!(
        text.contains("0.nii.gz would be resampled to 1600 x 2400 x 4000 (depth x height x width), and the limit is 256")
            && text.contains("Check --spacing and its unit, or take a coarser one. If the memory holds more, pass --max-megapixels 15360"),
        "{text}"
    );
    let text = fail(&train_crops("16x24x30", &[]));
    assert!(
        text.contains("0.nii.gz is too small to train on: it is 16 x 24 x 40 (depth x height x width)")
            && text.contains(
                "resampled from the spacing 1,1,1 mm to the spacing 2,1,1 mm (depth,height,width): 8 x 24 x 30"
            )
            && text.ends_with("pass --crop 8x24x30."),
        "{text}"
    );
    succeed(&train(&[]));

    // A network of one spacing needs the spacing of what it segments.
    let (size, _) = OTHER;
    let array = write(&out, "a.npy", npy(&size, &view(OTHER)[0]));
    let mask = shown(&out, "m.npy");
    let predict = [
        "predict", "--model", &model, "--image", &array, "--mask", &mask,
    ];
    let text = fail(&predict);
    assert!(
        text.contains("a.npy tells no spacing, and the network was trained on images that were resampled to the spacing 2,1,1 mm")
            && text.contains("Save it in a format that tells it (NIfTI, or TIFF as ImageJ writes it), or pass it with --spacing."),
        "{text}"
    );
    succeed(&[&predict[..], &["--spacing", "1.33,1.5,0.8"]].concat());
    // Of a volume that is made too small for the network, the error says why it is that size.
    let text = fail(&[&predict[..], &["--spacing", "0.1"]].concat());
    assert!(
        text.contains(
            "resampled from the spacing 0.1,0.1,0.1 to 2,1,1 (depth,height,width), the network does not suit"
        ),
        "{text}"
    );
    // Nor is it made of next to nothing, or of more than there is memory for.
    let text = fail(&[&predict[..], &["--spacing", "1e-5"]].concat());
    assert!(
        text.contains("a.npy is 12 x 16 x 50 (depth x height x width), and resampled from the spacing 0.00001,")
            && text.contains("less than half a pixel in depth. Check --spacing and its unit."),
        "{text}"
    );
    let text = fail(&[&predict[..], &["--spacing", "1e5"]].concat());
    assert!(
        text.contains("a.npy would be resampled to 600000 x "),
        "{text}"
    );
    let text = fail(&[&predict[..], &["--spacing", "1,1"]].concat());
    assert!(
        text.contains("--spacing 1,1 has 2 numbers, and the images have 3 axes"),
        "{text}"
    );

    // One file without a spacing, and one whose spacing is 0.
    let [image, labels] = view(VIEWS[0]);
    for (part, values) in [("images", &image), ("masks", &labels)] {
        write(&folder, &format!("{part}/3.npy"), npy(&VIEWS[0].0, values));
    }
    let text = fail(&train(&["--overwrite"]));
    assert!(
        text.contains("0.nii.gz tells its spacing, and ")
            && text.contains("3.npy tells none. Save it in a format that tells it (NIfTI, or TIFF as ImageJ writes it), or pass --spacing keep"),
        "{text}"
    );
    succeed(&train(&["--overwrite", "--spacing", "keep"]));
    assert_eq!(training(Path::new(&model)).get("target_spacing"), None);
    for part in ["images", "masks"] {
        fs::remove_file(folder.join(part).join("3.npy")).expect("a file");
    }
    let flat = nifti(&VIEWS[0].0, &[0.0, 1.0, 1.0], &image);
    write(&folder, "images/0.nii.gz", packed(&flat));
    let text = fail(&train(&["--overwrite", "--spacing", "median"]));
    assert!(
        text.contains("0.nii.gz tells no spacing: its header has 0,1,1 (depth,height,width). Write it into its header, or pass --spacing keep"),
        "{text}"
    );
}

#[test]
fn where_one_header_is_wrong_it_is_named_and_not_another() {
    let out = folder("spacing_wrong");
    for part in ["images", "masks"] {
        fs::create_dir_all(out.join("data").join(part)).expect("a folder");
    }
    for (name, step) in [("a", 1.0), ("b", 1e9)] {
        let values: Vec<f32> = (0..512).map(|n| (n % 2) as f32).collect();
        for part in ["images", "masks"] {
            let file = nifti(&[8, 8, 8], &[step, 1.0, 1.0], &values);
            write(&out, &format!("data/{part}/{name}.nii"), file);
        }
    }
    let data = shown(&out, "data");
    let net = r#"{"Unet": {"in_channels": 1, "widths": [2], "out_channels": 1}}"#;
    let net = write(&out, "net.json", net);
    let run = shown(&out, "run");
    let train = ["train", "--crop", "8", "--out", &run, "--data", &data, &net];
    let plan = ["plan-data", "--out", &run, &data];
    for text in [fail(&train), fail(&plan)] {
        assert!(
            text.contains("It tells the spacing 1,1,1 mm, and ")
                && text.contains("images/b.nii tells 1000000000,1,1 mm: correct the header"),
            "{text}"
        );
    }
}
