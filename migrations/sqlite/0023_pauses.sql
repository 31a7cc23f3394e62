-- Jobs that a client has paused: no worker takes them, and they have not ended. As a state of their own they are in no statement and no
-- index of waiting jobs, and a process of the version before leaves them alone, as it does with every state that it does not know.
ALTER TABLE jobs ADD COLUMN pause_requested INTEGER NOT NULL DEFAULT 0 CHECK (pause_requested IN (0, 1)); -- while running

-- SQLite can change a table's check in its text only (https://sqlite.org/lang_altertable.html, section 7). It comes last: what adds a
-- column knows the text as it was read.
PRAGMA writable_schema = ON;
UPDATE sqlite_schema SET sql = replace(replace(sql,
    'state IN (''queued'', ''running'', ''succeeded''', 'state IN (''queued'', ''running'', ''paused'', ''succeeded'''),
    '(state IN (''queued'', ''running''))', '(state IN (''queued'', ''running'', ''paused''))')
WHERE type = 'table' AND name = 'jobs';
PRAGMA writable_schema = RESET;
