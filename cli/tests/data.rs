//! The images that the program reads, and what it writes of them.

mod support;

use std::fs;
use std::path::Path;

use serde_json::Value;
use support::images::{Bands, nifti, npy, tiff};
use support::{fail, folder, shown, succeed, words, write};

const SIZE: [u32; 2] = [48, 64];

/// Squares at places that `seed` decides.
fn mask(seed: u32) -> Vec<u16> {
    let [height, width] = SIZE;
    let at = |y: u32, x: u32| {
        u16::from(((x + 5 * seed) / 8).is_multiple_of(3) && ((y + 3 * seed) / 8).is_multiple_of(2))
    };
    (0..height * width)
        .map(|n| at(n / width, n % width))
        .collect()
}

/// So many bands, of which the last but one shows the mask.
fn bands(count: u16, seed: u32) -> Vec<Vec<u16>> {
    let noise = |n: usize, band: u16| (n as u16).wrapping_mul(31 + 7 * band) % 100;
    let band = |band: u16| {
        let shows = if band + 2 == count { 3000 } else { 0 };
        let values = mask(seed).into_iter().enumerate();
        values
            .map(|(n, mask)| noise(n, band) + shows * mask)
            .collect()
    };
    (0..count).map(band).collect()
}

fn floats(maps: &[Vec<u16>]) -> Vec<f32> {
    maps.concat().into_iter().map(f32::from).collect()
}

/// A folder of images of so many bands, each with its mask.
fn dataset(
    folder: &Path,
    ending: &str,
    image: impl Fn(u32) -> Vec<u8>,
    mask: impl Fn(u32) -> Vec<u8>,
) {
    for part in ["images", "masks"] {
        fs::create_dir_all(folder.join(part)).expect("a folder");
    }
    for seed in 0..3 {
        write(folder, &format!("images/{seed}.{ending}"), image(seed));
        write(folder, &format!("masks/{seed}.{ending}"), mask(seed));
    }
}

fn net(folder: &Path, channels: u16) -> String {
    let net = format!(
        r#"{{"Unet": {{"in_channels": {channels}, "widths": [8, 16], "out_channels": 1}}}}"#
    );
    write(folder, "net.json", net)
}

const TRAIN: &str =
    "train --quiet --epochs 1 --steps 30 --batch 4 --crop 32 --intensities linear --data";

#[test]
fn tiffs_of_any_number_of_bands_train_and_predict() {
    for (channels, layout) in [(4, Bands::BesideEachOther), (7, Bands::Planes)] {
        let out = folder(&format!("bands{channels}"));
        let data = out.join("data");
        let image = |seed| tiff(SIZE, &[bands(channels, seed)], layout);
        dataset(&data, "tif", image, |seed| {
            tiff(SIZE, &[vec![mask(seed)]], layout)
        });
        let run = shown(&out, "run");
        let (net, path) = (net(&out, channels), data.display().to_string());
        succeed(&words(TRAIN, &[&path, "--out", &run, &net]));
        let [image, labels] = ["images/1.tif", "masks/1.tif"].map(|name| shown(&data, name));
        let [mask, map] = ["m.tif", "p.npy"].map(|name| shown(&out, name));
        let predict = ["predict", "--json", "--model", &run, "--image", &image];
        let files = [
            "--labels",
            &labels,
            "--mask",
            &mask,
            "--probabilities",
            &map,
        ];
        let text = succeed(&[&predict[..], &files].concat());
        let scores: Value = serde_json::from_str(&text).expect("one JSON object");
        let iou = scores["iou"].as_f64().expect("an IoU");
        assert!(iou > 0.7, "{text}");
        // The mask is a label file itself, and equals the prediction.
        let files = ["--labels", &mask, "--out", &shown(&out, "p.png")];
        let text = succeed(&[&predict[..], &files].concat());
        let scores: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(scores["iou"], 1.0);
        // And where a probability is a half or more, there is foreground.
        let bytes = fs::read(&map).expect("a file");
        let values = bytes[bytes.len() - 4 * 48 * 64..].chunks_exact(4);
        let marked = values.filter(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]]) >= 0.5);
        let part = marked.count() as f64 / f64::from(48 * 64);
        assert!((scores["foreground"].as_f64().expect("a part") - part).abs() < 1e-9);

        let text = succeed(&["eval", "--json", "--model", &run, "--data", &path]);
        assert_eq!(text.lines().count(), 4, "{text}");
    }
}

#[test]
fn every_format_holds_the_same_numbers() {
    let out = folder("formats");
    let data = out.join("data");
    let image = |seed| tiff(SIZE, &[bands(4, seed)], Bands::BesideEachOther);
    dataset(&data, "tif", image, |seed| {
        tiff(SIZE, &[vec![mask(seed)]], Bands::Planes)
    });
    let (run, path) = (shown(&out, "run"), data.display().to_string());
    let short = "train --quiet --epochs 1 --steps 1 --batch 1 --crop 16 --data";
    succeed(&words(short, &[&path, "--out", &run, &net(&out, 4)]));

    let maps = bands(4, 1);
    let pages: Vec<_> = maps.iter().map(|map| vec![map.clone()]).collect();
    let (shape, steps) = ([4, 1, 48, 64], [1.0, 1.0, 0.25, 0.5]);
    let values = floats(&maps);
    let images = [
        shown(&data, "images/1.tif"),
        write(&out, "1.npy", npy(&[4, 48, 64], &values)),
        write(&out, "1.nii", nifti(&shape, &steps, &values)),
        // An ImageJ TIFF has a page for each channel; these pages are not said to be channels.
        write(&out, "pages.tif", tiff(SIZE, &pages, Bands::Planes)),
    ];
    let predict = |image: &str, more: &[&str]| {
        [
            &["predict", "--json", "--model", &run, "--image", image][..],
            more,
        ]
        .concat()
        .iter()
        .map(|word| word.to_string())
        .collect::<Vec<_>>()
    };
    let mut written = Vec::new();
    for (n, image) in images[..3].iter().enumerate() {
        let map = shown(&out, &format!("map{n}.npy"));
        succeed(&predict(image, &["--probabilities", &map]));
        written.push(fs::read(map).expect("a file"));
    }
    assert!(written.iter().all(|bytes| *bytes == written[0]));
    let text = fail(&predict(&images[3], &["--mask", &shown(&out, "m.tif")]));
    assert!(
        text.contains("pages.tif has 1 channel, and the network's in_channels are 4"),
        "{text}"
    );

    // From NIfTI to NIfTI the header stays, and so does the spacing to other formats.
    for name in ["m.nii", "m.nii.gz", "m.tif", "m.png", "m.npy"] {
        succeed(&predict(&images[2], &["--mask", &shown(&out, name)]));
    }
    let read = |name: &str| fs::read(out.join(name)).expect("a file");
    let (image, mask) = (read("1.nii"), read("m.nii"));
    assert_eq!(mask.len(), 352 + 48 * 64);
    assert_eq!(mask[76..108], image[76..108]);
    assert_eq!(mask[252..328], image[252..328]);
    let mut unpacked = Vec::new();
    let packed = read("m.nii.gz");
    std::io::Read::read_to_end(
        &mut flate2::read::GzDecoder::new(&packed[..]),
        &mut unpacked,
    )
    .expect("a gzip file");
    assert_eq!(unpacked, mask);
    let tif = read("m.tif");
    assert!(String::from_utf8_lossy(&tif).contains("unit=mm"));
    // All of them have the same mask.
    for name in ["m.nii.gz", "m.tif", "m.png", "m.npy"] {
        let files = [
            "--labels",
            &shown(&out, name),
            "--mask",
            &shown(&out, "again.npy"),
        ];
        let text = succeed(&predict(&images[0], &files));
        let scores: Value = serde_json::from_str(&text).expect("one JSON object");
        assert_eq!(scores["iou"], 1.0, "{name}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_a_sentence() {
    let out = folder("wrong_data");
    let data = out.join("data");
    fs::create_dir_all(&data).expect("a folder");
    let net = net(&out, 1);
    let network = |classes: &str| {
        let text = fs::read_to_string(&net).expect("a network");
        write(
            &out,
            "classes.json",
            text.replace("\"out_channels\": 1", classes),
        )
    };
    let image = bands(1, 0);
    let (image, labels) = (floats(&image), floats(&[mask(0)]));
    let attempt = |net: &str, files: &[(&str, Vec<u8>)]| {
        let _ = fs::remove_dir_all(&data);
        fs::create_dir_all(&data).expect("a folder");
        for (name, bytes) in files {
            write(&data, name, bytes);
        }
        let path = data.display().to_string();
        fail(&words(TRAIN, &[&path, "--out", &shown(&out, "run"), net]))
    };
    let good = || npy(&[48, 64], &image);
    let good_mask = || npy(&[48, 64], &labels);

    let whole = tiff(SIZE, &[bands(1, 0)], Bands::Planes);
    // (The directory lies behind the values.)
    for length in [3, 100, whole.len() - 1] {
        let text = attempt(
            &net,
            &[
                ("image.tif", whole[..length].to_vec()),
                ("labels.npy", good_mask()),
            ],
        );
        assert!(
            text.contains("image.tif is not a TIFF file that can be read: "),
            "{text}"
        );
    }
    let volume = nifti(&[48, 64], &[1.0, 1.0], &image);
    let text = attempt(
        &net,
        &[
            ("image.nii", volume[..5000].to_vec()),
            ("labels.npy", good_mask()),
        ],
    );
    assert!(
        text.ends_with("it is cut off: 4648 bytes of 12288 are there. Copy or save it again."),
        "{text}"
    );
    let mut beyond = volume;
    beyond[108..112].copy_from_slice(&1e30_f32.to_le_bytes());
    let text = attempt(&net, &[("image.nii", beyond), ("labels.npy", good_mask())]);
    assert!(
        text.contains("its values begin at byte 1000000000000000000000000000000 by its header (vox_offset), and it has 12640"),
        "{text}"
    );
    let text = attempt(
        &net,
        &[
            ("image.npy", good()[..5000].to_vec()),
            ("labels.npy", good_mask()),
        ],
    );
    assert!(
        text.contains("is not a .npy file that can be read: it is cut off"),
        "{text}"
    );

    let mut holed = image.clone();
    holed[3 * 64 + 2] = f32::NAN;
    let text = attempt(
        &net,
        &[
            ("image.npy", npy(&[48, 64], &holed)),
            ("labels.npy", good_mask()),
        ],
    );
    assert!(
        text.contains("the value at column 2, row 3 is NaN"),
        "{text}"
    );

    let other = npy(&[24, 128], &labels);
    let text = attempt(&net, &[("image.npy", good()), ("labels.npy", other)]);
    assert!(
        text.contains("image.npy is 48 x 64 (height x width)")
            && text.contains("labels.npy is 24 x 128 (height x width). A mask has one pixel"),
        "{text}"
    );

    let mut wrong = labels.clone();
    wrong[64 * 7 + 5] = 1.5;
    let net = network("\"out_channels\": 3");
    let text = attempt(
        &net,
        &[
            ("image.npy", good()),
            ("labels.npy", npy(&[48, 64], &wrong)),
        ],
    );
    assert!(
        text.contains("labels.npy: the pixel at column 5, row 7 is of class 1.5"),
        "{text}"
    );
    let text = attempt(
        &net,
        &[
            ("image.npy", good()),
            ("image.png", Vec::new()),
            ("labels.npy", good_mask()),
        ],
    );
    assert!(text.contains("has two files of one name"), "{text}");
    let nothing = npy(&[48, 64], &vec![0.0; 48 * 64]);
    let text = attempt(&net, &[("image.npy", good()), ("labels.npy", nothing)]);
    let expected = "every pixel of the masks that are trained on is 0, the background (1 in all)";
    assert!(text.contains(expected), "{text}");
}

#[test]
fn validation_is_on_the_images_that_were_asked_for() {
    let out = folder("validation");
    let data = out.join("data");
    let image = |seed| npy(&[48, 64], &floats(&bands(1, seed)));
    let labels = |seed| npy(&[48, 64], &floats(&[mask(seed)]));
    dataset(&data, "npy", image, labels);
    let other = out.join("other");
    fs::create_dir_all(&other).expect("a folder");
    write(&other, "image.npy", image(7));
    write(&other, "labels.npy", labels(7));
    let list = write(&out, "list.txt", "2\n\n0.npy\n");
    let (net, path) = (net(&out, 1), data.display().to_string());
    let short = "train --json --epochs 1 --steps 1 --batch 1 --crop 32 --data";
    let train = |name: &str, validation: &str| {
        let run = shown(&out, name);
        words(
            short,
            &[&path, "--out", &run, "--validation", validation, &net],
        )
    };
    let folder = format!("folder={}", other.display());
    let cases = [
        ("columns", "columns".to_string(), [3, 3]),
        ("fraction", "fraction=0.3,seed=5".into(), [2, 1]),
        ("fold", "fold=2/3".into(), [2, 1]),
        ("list", format!("list={list}"), [1, 2]),
        ("folder", folder, [3, 1]),
    ];
    for (name, validation, counts) in &cases {
        let text = succeed(&train(name, validation));
        let start: Value =
            serde_json::from_str(text.lines().next().expect("a line")).expect("JSON");
        let found = ["images", "validation_images"].map(|key| start[key].as_u64());
        assert_eq!(found, counts.map(Some), "{validation}");
        // `eval --valid` judges the same, from what the run folder says.
        let text = succeed(&["eval", "--json", "--valid", "--model", &shown(&out, name)]);
        let all: Value = serde_json::from_str(text.lines().last().expect("a line")).expect("JSON");
        assert_eq!(all["images"].as_u64(), Some(counts[1]), "{text}");
        let iou = support::epochs(&out.join(name))[0]["iou"]
            .as_f64()
            .expect("an IoU");
        assert!(
            (all["iou"].as_f64().expect("an IoU") - iou).abs() < 1e-6,
            "{text}"
        );
    }
    let resume = |validation| [train("fold", validation), words("--resume", &[])].concat();
    succeed(&resume("fold=2/3"));
    let text = fail(&resume("fold=1/3"));
    assert!(
        text.contains("--validation differs from the saved training"),
        "{text}"
    );

    let lone = [
        "--out",
        &shown(&out, "lone"),
        "--validation",
        "fraction=0.5",
        &net,
    ];
    let single = other.display().to_string();
    let text = fail(&words(short, &[&[single.as_str()], &lone[..]].concat()));
    assert!(
        text.contains("the data are 1 image, and this needs 2 or more"),
        "{text}"
    );
    let unknown = write(&out, "unknown.txt", "0\n3\n");
    let text = fail(&train("unknown", &format!("list={unknown}")));
    assert!(
        text.contains("unknown.txt, line 2: no image of the data is called `3`"),
        "{text}"
    );
}

#[test]
fn intensities_are_fitted_on_the_training_images_and_kept_with_the_model() {
    let out = folder("intensities");
    let data = out.join("data");
    // The images differ in brightness, so that those of the validation would change the numbers.
    let values = |seed: u32| {
        floats(&bands(2, seed))
            .into_iter()
            .map(move |v| v + 1000.0 * seed as f32)
    };
    let image = |seed| npy(&[2, 48, 64], &values(seed).collect::<Vec<_>>());
    dataset(&data, "npy", image, |seed| {
        npy(&[48, 64], &floats(&[mask(seed)]))
    });
    let list = write(&out, "list.txt", "2\n");
    let (net, path) = (net(&out, 2), data.display().to_string());
    let train = |name: &str, kind: &str| {
        let validation = format!("list={list}");
        let run = shown(&out, name);
        let more = [
            &path,
            "--out",
            &run,
            "--validation",
            &validation,
            "--intensities",
            kind,
            &net,
        ];
        words(
            "train --quiet --epochs 1 --steps 1 --batch 1 --crop 32 --data",
            &more,
        )
    };
    succeed(&train("z", "z-score"));
    let text = fs::read_to_string(out.join("z/training.json")).expect("a file");
    let training: Value = serde_json::from_str(&text).expect("JSON");
    let channel: Vec<f32> = (0..2).flat_map(|seed| values(seed).take(48 * 64)).collect();
    let mean = channel.iter().map(|&v| f64::from(v)).sum::<f64>() / channel.len() as f64;
    let shift = training["scales"][0]["shift"].as_f64().expect("a number");
    assert!((shift - mean).abs() < 1e-6 * mean, "{text}");
    assert_eq!(training["scales"].as_array().map(Vec::len), Some(2));

    // The same numbers are used later: where they are others, the prediction is.
    let predict = |name: &str| {
        let (run, map) = (shown(&out, "z"), shown(&out, name));
        let image = shown(&data, "images/2.npy");
        succeed(&[
            "predict",
            "--model",
            &run,
            "--image",
            &image,
            "--probabilities",
            &map,
        ]);
        fs::read(map).expect("a file")
    };
    let before = predict("before.npy");
    let moved = text.replacen(&format!("{shift}"), "0.0", 1);
    assert_ne!(moved, text);
    write(&out, "z/training.json", &moved);
    assert_ne!(predict("after.npy"), before);
    let none = training["scales"][0].clone();
    let mut without = training.clone();
    without["scales"] = Value::Array(vec![none]);
    write(&out, "z/training.json", without.to_string());
    let eval = ["eval", "--valid", "--model", &shown(&out, "z")];
    assert!(fail(&eval).contains("the training has 1 scales of intensities"));

    for (n, kind) in [
        "none",
        "linear",
        "percentiles=1,99",
        "window=0,3000",
        r#"{"ZScore": {"fit": "Image"}}"#,
    ]
    .iter()
    .enumerate()
    {
        let name = format!("run{n}");
        succeed(&train(&name, kind));
        succeed(&["eval", "--valid", "--model", &shown(&out, &name)]);
    }
    let text = fail(&[train("run0", "linear"), words("--resume", &[])].concat());
    assert!(
        text.contains("--intensities differs from the saved training"),
        "{text}"
    );
}
