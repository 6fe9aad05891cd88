//! Which images a training is validated on, and not trained on.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pairs::{Pair, pairs};
use crate::Result;

/// What a training is validated on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Validation {
    /// The last quarter of every image's columns.
    #[default]
    Columns,
    /// The images of another folder.
    Folder { folder: PathBuf },
    /// A part of the images: those whose names come first by a hash with the seed.
    Fraction { fraction: f64, seed: u64 },
    /// One of several parts of about the same size, by the same hash; counted from 1.
    Fold {
        fold: usize,
        folds: usize,
        seed: u64,
    },
    /// The images whose names are in a file, one a line.
    List { file: PathBuf },
}

/// The images that are trained on and those that are validated on.
pub enum Split {
    /// Each image is both: its columns are split.
    Columns(Vec<Pair>),
    Images {
        train: Vec<Pair>,
        valid: Vec<Pair>,
    },
}

impl Split {
    /// All of them.
    pub fn pairs(&self) -> impl Iterator<Item = &Pair> {
        let (train, valid): (_, &[Pair]) = match self {
            Self::Columns(pairs) => (pairs, &[]),
            Self::Images { train, valid } => (train, valid),
        };
        train.iter().chain(valid)
    }
}

/// What the command line takes.
const KINDS: &str = "columns, folder=DIR, fraction=0.2, fold=1/5 or list=FILE; fraction and fold may end in ,seed=N";

impl Validation {
    /// A validation on the command line.
    ///
    /// # Errors
    /// When it is none, or a number is out of its range.
    pub fn parse(text: &str) -> Result<Self, String> {
        let unknown = || format!("`{text}` is not one of {KINDS}");
        let (kind, value) = text.split_once('=').unwrap_or((text, ""));
        // (A folder may have a comma in its name.)
        let (number, seed) = value.split_once(",seed=").unwrap_or((value, "0"));
        let seed = || seed.parse().map_err(|_| unknown());
        let path = || match value {
            "" => Err(unknown()),
            path => std::path::absolute(path).map_err(|e| format!("{path}: {e}")),
        };
        let validation = match kind {
            "columns" if value.is_empty() => Self::Columns,
            "folder" => Self::Folder { folder: path()? },
            "list" => Self::List { file: path()? },
            "fraction" => Self::Fraction {
                fraction: number.parse().map_err(|_| unknown())?,
                seed: seed()?,
            },
            "fold" => {
                let parts = number.split_once('/');
                let parts =
                    parts.and_then(|(fold, folds)| Some((fold.parse().ok()?, folds.parse().ok()?)));
                let (fold, folds) = parts.ok_or_else(unknown)?;
                let seed = seed()?;
                Self::Fold { fold, folds, seed }
            }
            _ => return Err(unknown()),
        };
        validation.check()?;
        Ok(validation)
    }

    /// Checks the numbers.
    ///
    /// # Errors
    /// When one is out of its range.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            Self::Fraction { fraction, .. } if !(fraction > 0.0 && fraction < 1.0) => Err(format!(
                "a fraction of {fraction} must be above 0 and below 1"
            )),
            Self::Fold { fold, folds, .. } if folds < 2 || !(1..=folds).contains(&fold) => {
                Err(format!(
                    "fold {fold} of {folds}: there must be 2 folds or more, and they are counted from 1"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Splits the images.
    ///
    /// # Errors
    /// When there are too few, a file is missing, or a part would have none.
    pub fn split(&self, pairs_of_data: Vec<Pair>) -> Result<Split> {
        let count = pairs_of_data.len();
        let (valid, train): (Vec<_>, Vec<_>) = match self {
            Self::Columns => return Ok(Split::Columns(pairs_of_data)),
            Self::Folder { folder } => (pairs("--validation", Some(folder))?, pairs_of_data),
            Self::Fraction { fraction, seed } => {
                check_count(count, 2)?;
                let valid = (count as f64 * fraction).round() as usize;
                by_place(pairs_of_data, *seed, |place| {
                    place < valid.clamp(1, count - 1)
                })
            }
            Self::Fold { fold, folds, seed } => {
                check_count(count, *folds)?;
                by_place(pairs_of_data, *seed, |place| place % folds == fold - 1)
            }
            Self::List { file } => {
                let names = names(file, &pairs_of_data)?;
                let is_valid = |pair: &Pair| names.contains(&pair.name());
                pairs_of_data.into_iter().partition(is_valid)
            }
        };
        for (part, what) in [(&train, "train"), (&valid, "validate")] {
            if part.is_empty() {
                return Err(format!(
                    "--validation: of the {count} images none is left to {what} on. Choose other images."
                )
                .into());
            }
        }
        Ok(Split::Images { train, valid })
    }
}

/// The images whose places are valid, and the others. A place is that of the hash of the name: it depends neither on
/// the order of the files nor on the machine.
fn by_place(
    pairs: Vec<Pair>,
    seed: u64,
    is_valid: impl Fn(usize) -> bool,
) -> (Vec<Pair>, Vec<Pair>) {
    let key = |pair: &Pair| (hash(seed, &pair.name()), pair.name());
    let mut order: Vec<_> = pairs.iter().map(key).collect();
    order.sort();
    let place = |pair: &Pair| order.binary_search(&key(pair)).unwrap_or_default();
    pairs.into_iter().partition(|pair| is_valid(place(pair)))
}

/// FNV-1a of the seed and the name, its bits mixed as SplitMix64 does.
fn hash(seed: u64, name: &str) -> u64 {
    let bytes = seed.to_le_bytes().into_iter().chain(name.bytes());
    let step = |hash: u64, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, step);
    let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ hash >> 31
}

fn check_count(count: usize, least: usize) -> Result<()> {
    if count >= least {
        return Ok(());
    }
    let images = crate::train::report::images(count);
    Err(format!(
        "--validation: the data are {images}, and this needs {least} or more. Add images, or leave --validation out to \
         validate on a quarter of every image's columns."
    )
    .into())
}

/// The names in a file, one a line, each of an image; without their endings.
fn names(file: &Path, pairs: &[Pair]) -> Result<Vec<String>> {
    let shown = file.display();
    let text = std::fs::read_to_string(file)
        .map_err(|e| format!("--validation: cannot read {shown}: {e}"))?;
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty());
    lines
        .map(|(number, line)| {
            let named = |pair: &&Pair| pair.name() == line || pair.image.file_name() == Some(line.as_ref());
            let pair = pairs.iter().find(named);
            pair.map(Pair::name).ok_or_else(|| {
                let line_number = number + 1;
                format!(
                    "--validation: {shown}, line {line_number}: no image of the data is called `{line}`. Write one name a \
                     line."
                )
                .into()
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs_called(names: &[&str]) -> Vec<Pair> {
        let pair = |name: &&str| Pair::of_files(format!("{name}.png").into(), "mask.png".into());
        names.iter().map(pair).collect()
    }

    fn split(validation: &str, names: &[&str]) -> [Vec<String>; 2] {
        let names_of = |pairs: Vec<Pair>| pairs.iter().map(Pair::name).collect();
        match Validation::parse(validation)
            .unwrap()
            .split(pairs_called(names))
        {
            Ok(Split::Images { train, valid }) => [names_of(train), names_of(valid)],
            _ => panic!("no split of images"),
        }
    }

    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

    #[test]
    fn a_part_is_chosen_by_the_names_and_the_seed_alone() {
        let [train, valid] = split("fraction=0.34", &NAMES);
        assert_eq!((train.len(), valid.len()), (4, 2));
        let mut turned = NAMES;
        turned.reverse();
        let [_, mut again] = split("fraction=0.34", &turned);
        again.sort();
        assert_eq!(again, valid);
        let others =
            (1..9).map(|seed| split(&format!("fraction=0.34,seed={seed}"), &NAMES)[1].clone());
        assert!(others.into_iter().any(|other| other != valid));
        // At least one image is on each side.
        assert_eq!(split("fraction=0.01", &NAMES)[1].len(), 1);
        assert_eq!(split("fraction=0.99", &NAMES)[0].len(), 1);
        // The same on every machine.
        assert_eq!(hash(0, "a"), 0x0d38_d3c8_a628_cc82);
    }

    #[test]
    fn every_image_is_in_one_fold() {
        let folds = (1..=4).map(|fold| split(&format!("fold={fold}/4"), &NAMES)[1].clone());
        let mut all: Vec<String> = folds.flatten().collect();
        all.sort();
        assert_eq!(all, NAMES);
    }

    #[test]
    fn what_is_no_validation_is_refused() {
        for wrong in [
            "fraction",
            "fraction=x",
            "folder",
            "folder=",
            "fold=2",
            "columns=1",
            "half",
            "fold=1/3,seed=-1",
        ] {
            let error = Validation::parse(wrong).unwrap_err();
            assert!(
                error.contains("is not one of columns, folder=DIR"),
                "{error}"
            );
        }
        for wrong in [
            "fraction=1",
            "fraction=0",
            "fraction=NaN",
            "fold=0/3",
            "fold=4/3",
            "fold=1/1",
        ] {
            assert!(
                Validation::parse(wrong).unwrap_err().contains("must be"),
                "{wrong}"
            );
        }
        let error = |validation: &str, names: &[&str]| {
            let split = Validation::parse(validation)
                .unwrap()
                .split(pairs_called(names));
            split.err().map(|e| e.to_string()).unwrap_or_default()
        };
        assert_eq!(
            error("fraction=0.5", &["a"]),
            "--validation: the data are 1 image, and this needs 2 or more. Add images, or leave --validation out to \
             validate on a quarter of every image's columns."
        );
        assert!(error("fold=1/3", &["a", "b"]).contains("the data are 2 images, and this needs 3"));
    }
}
