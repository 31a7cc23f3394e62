-- What a dream changes to while it is made. The spec stays as it was sent; where there is a schedule here, it stands for the spec's.
ALTER TABLE jobs ADD COLUMN schedule TEXT CHECK (schedule IS NULL OR json_valid(schedule));
ALTER TABLE jobs ADD COLUMN steering TEXT CHECK (steering IS NULL OR json_valid(steering)); -- asked for, for the next octave or frame that begins
ALTER TABLE jobs ADD COLUMN steered INTEGER NOT NULL DEFAULT 0;                             -- grows with every change of the two: compare and swap
-- The octave, or frame, that the attempt has begun last, and of how many.
ALTER TABLE jobs ADD COLUMN place INTEGER;
ALTER TABLE jobs ADD COLUMN places INTEGER;
