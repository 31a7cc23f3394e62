-- The newest octave, counted from 1, whose preview is stored; none before the first.
ALTER TABLE jobs ADD COLUMN preview_octave INTEGER;
