//! Batches against their tiles.

use reverie_dream::plan::Strip;
use tch::{Device, Kind};

use super::*;

#[test]
fn a_batch_is_read_and_written_as_its_tiles_one_by_one() {
    let (height, width) = (170, 230);
    let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu));
    for (tiling, uniform) in [(Tiling::Even, true), (Tiling::Even, false), (Tiling::Article, false)] {
        let grid = Grid { tile: 100, halo: 8, stride: 4, tiling, uniform };
        let [rows, columns] = grid.strips(height, width);
        let tile = |row: &Strip, column: &Strip| Tile { row: *row, column: *column };
        let tiles = rows.iter().flat_map(|row| columns.iter().map(move |column| tile(row, column)));
        for tiles in alike(tiles.collect()) {
            let places = Some(Places::new(&tiles, Device::Cpu).unwrap());
            let groups = [Group { tiles: tiles.clone(), places }, Group { tiles, places: None }];
            let all = groups[0].tiles.len();
            // Cores of several lengths are in a batch.
            assert!(
                !uniform || groups[0].tiles.iter().any(|tile| tile.row.core.length != rows[0].core.length)
            );
            for ((first, count), shift) in [(0, all), (all / 2, 1)].into_iter().zip([(0, 0), (73, 29)]) {
                let both = groups.each_ref().map(|group| {
                    let windows = group.gather(&image, first, count, shift).unwrap();
                    let gradient = image.zeros_like();
                    group.scatter(&windows, &gradient, first, count, shift).unwrap();
                    (windows, gradient)
                });
                assert_eq!(both[0], both[1], "{tiling:?} {uniform} {shift:?}");
            }
        }
    }
}

#[test]
fn a_window_larger_than_the_image_is_read_and_written_as_its_tile() {
    let (height, width) = (170, 23);
    let image = Tensor::rand([1, 3, height, width], (Kind::Float, Device::Cpu));
    let grid = Grid { tile: 512, halo: 8, stride: 4, tiling: Tiling::Even, uniform: true };
    let tiles = tiles_of(&grid, height, width);
    assert!(tiles.len() == 1 && tiles[0].size() == [192, 24]);
    let places = Some(Places::new(&tiles, Device::Cpu).unwrap());
    let groups = [Group { tiles: tiles.clone(), places }, Group { tiles, places: None }];
    for shift in [(0, 0), (19, 150)] {
        let both = groups.each_ref().map(|group| {
            let window = group.gather(&image, 0, 1, shift).unwrap();
            let back = image.zeros_like();
            group.scatter(&window, &back, 0, 1, shift).unwrap();
            // Each pixel has been read at least once, and is written once.
            assert_eq!(back, image);
            window
        });
        assert_eq!(both[0], both[1]);
    }
}
