//! The help of `reverie render`: its sections, which options `-h` shows, and what comes after them.
//!
//! The options themselves are defined elsewhere, those of the spec with its parameters. This table is the one place that says
//! where each of them stands; a test finds an option that is missing here.

use clap::Arg;

/// Options that belong together.
struct Section {
    heading: &'static str,
    /// Options that `-h` shows, too.
    essential: &'static [&'static str],
    /// Options that only `--help` shows.
    further: &'static [&'static str],
}

/// All sections, in their order.
const SECTIONS: [Section; 8] = [
    Section {
        heading: "Input and output",
        essential: &["output", "force", "mask"],
        further: &["mask-feather", "guide", "spec", "replay", "fork-after"],
    },
    Section { heading: "Look and model", essential: &["look", "model"], further: &["preset", "models-dir"] },
    Section { heading: "What to dream", essential: &["layer", "channel", "class"], further: &["objective"] },
    Section {
        heading: "How it is dreamed",
        essential: &["octaves", "iterations", "seed"],
        further: &[
            "step",
            "octave-scale",
            "octave-mode",
            "normalization",
            "laplacian-levels",
            "total-variation",
            "l2-decay",
            "schedule",
            "tile-size",
            "tiling",
            "no-jitter",
            "jitter-pixels",
            "random-scale",
            "random-rotation",
            "parametrization",
            "precision",
        ],
    },
    Section { heading: "Size", essential: &[], further: &["max-edge", "restore-size", "noise"] },
    Section {
        heading: "Motion",
        essential: &["frames"],
        further: &["zoom", "rotate", "shift-x", "shift-y", "frame-iterations", "fps", "playback"],
    },
    Section {
        heading: "Result",
        essential: &["format", "preserve-colors", "show"],
        further: &["blend", "auto-contrast", "background", "quality", "lossless", "no-recipe"],
    },
    Section {
        heading: "Machine and messages",
        essential: &["json", "help"],
        further: &["device", "threads", "profile"],
    },
];

/// The end of `reverie render -h`.
pub(in super::super) const AFTER_HELP: &str =
    "reverie render --help has every option with its range and default, and examples.";

/// The end of `reverie render --help`. clap breaks lines of more than 100 characters.
pub(in super::super) const AFTER_LONG_HELP: &str = "\
Examples:
  reverie render photo.jpg -o dream.png
  reverie render photo.jpg -o dream.png --look scales --show
  reverie render photos/ more/cat.png -o dreams/ --format jpeg
  reverie render photo.jpg -o dream.png --layer block10 --channel 7 --channel 21 --octaves 5
  reverie render photo.jpg -o dream.png --objective 'block10 - 0.5*block5:21'
  reverie render photo.jpg -o dream.webp --frames 60 --zoom 1.03
  reverie render -o pattern.png --preset lapnorm --layer block8 --channel 21 --noise 300x200
  reverie render - -o - --format jpeg < photo.jpg > dream.jpg

Objectives:
  --objective takes a kind, for the layer of --layer, or a sum of terms with + and -, each with a
  weight in front if it needs one: --objective 'mixed4c - 0.5*mixed3b:21 + guide(mixed4c)'
    LAYER          the mean square (l2) of a layer; a name with other characters than letters,
                   digits, _ . / in quotes
    LAYER:C,C      the mean of these channels
    mean(LAYER), l2(LAYER), mean(LAYER:C), l2(LAYER:C)
    strongest(LAYER, N), weakest(LAYER, N), random(LAYER, N)
                   the mean of N channels that the picture or the seed chooses
    direction(LAYER, C - 0.5*C), direction(LAYER, C + C, P)
                   along these channels, times the P-th power of the cosine
    at(X, Y, TERM), at(X, Y, R, TERM)
                   only near a place: shares of the width and the height, R of the shorter edge
    class(K), class(K, LAYER), probability(K)
    guide(LAYER), guide-cosine(LAYER)
                   likeness to the image of --guide

Several pictures:
  Each dream is named as its input, in the folder OUT. Names that collide, or that are taken
  (without --force), are refused before anything is rendered. A picture that fails is told at
  once and does not stop the others.

Exit codes:
  0    the dream is written
  1    it is not: stderr says why, and a file at OUT is as it was; of several pictures, not all
       are written
  2    the command line cannot be read
  130  stopped by Ctrl-C (143: by SIGTERM, 129: by SIGHUP), nothing is written; of several
       pictures, the dreams that were finished are

Messages, the progress bar and notes go to stderr. With --json, standard output has a line about
each result, and about each picture that failed; where the picture itself goes there, the line is
the last of stderr.";

/// Where an option stands: its section, and its place there. What is in no section comes last.
pub(super) fn position(argument: &Arg) -> (usize, usize) {
    let of_section = |section: &Section| {
        let mut names = section.essential.iter().chain(section.further);
        names.position(|name| argument.get_long() == Some(name))
    };
    let mut places = SECTIONS.iter().enumerate();
    let place = places.find_map(|(index, section)| Some((index, of_section(section)?)));
    place.unwrap_or((SECTIONS.len(), 0))
}

/// Puts an option in its section.
pub(super) fn place(argument: Arg) -> Arg {
    let (index, order) = position(&argument);
    let Some(section) = SECTIONS.get(index) else { return argument };
    let argument = argument.help_heading(section.heading).display_order(order);
    if order < section.essential.len() {
        return argument;
    }
    // The manual page has the long text of what the short help leaves out, and no other.
    match argument.get_long_help().or(argument.get_help()).cloned() {
        Some(text) => argument.hide_short_help(true).long_help(text),
        None => argument.hide_short_help(true),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use clap::{Args as _, Command};

    use super::*;

    #[test]
    fn every_option_is_in_one_section_and_every_section_names_options() {
        let command = super::super::Args::augment_args(Command::new("render"));
        let options = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let defined: Vec<&str> = options.filter_map(Arg::get_long).collect();
        let named = |section: &'static Section| section.essential.iter().chain(section.further);
        let placed: Vec<&str> = SECTIONS.iter().flat_map(named).copied().collect();
        let (of_table, of_command) = (BTreeSet::from_iter(&placed), BTreeSet::from_iter(&defined));
        assert_eq!(placed.len(), of_table.len(), "an option is in two places");
        assert_eq!(of_command, of_table);
        // In the order of the table, which is the order in which a person reads them.
        let headings: Vec<&str> = command.get_arguments().filter_map(Arg::get_help_heading).collect();
        let mut firsts = Vec::new();
        for heading in headings {
            if !firsts.contains(&heading) {
                firsts.push(heading);
            }
        }
        assert_eq!(firsts, SECTIONS.iter().map(|section| section.heading).collect::<Vec<_>>());
    }
}
