-- What the list of a subject's referrers is as of: a value of its own for each state, so that who has made the list of one
-- need not make it again. No row: no referrers.
CREATE TABLE referrer_lists (
    repository INTEGER NOT NULL,
    subject    TEXT NOT NULL,
    state      INTEGER NOT NULL,             -- random, so that no two states are ever taken for the same
    PRIMARY KEY (repository, subject)
) WITHOUT ROWID;
INSERT INTO referrer_lists (repository, subject, state)
SELECT repository, subject, random() FROM manifests WHERE subject IS NOT NULL GROUP BY repository, subject;

-- Triggers, so that it holds whoever writes manifests.
CREATE TRIGGER referrer_added AFTER INSERT ON manifests WHEN NEW.subject IS NOT NULL BEGIN
    INSERT INTO referrer_lists (repository, subject, state) VALUES (NEW.repository, NEW.subject, random())
    ON CONFLICT (repository, subject) DO UPDATE SET state = excluded.state;
END;
CREATE TRIGGER referrer_changed AFTER UPDATE ON manifests WHEN NEW.subject IS NOT NULL OR OLD.subject IS NOT NULL BEGIN
    UPDATE referrer_lists SET state = random() WHERE repository = OLD.repository AND subject = OLD.subject;
    INSERT INTO referrer_lists (repository, subject, state)
    SELECT NEW.repository, NEW.subject, random() WHERE NEW.subject IS NOT NULL
    ON CONFLICT (repository, subject) DO UPDATE SET state = excluded.state;
END;
CREATE TRIGGER referrer_removed AFTER DELETE ON manifests WHEN OLD.subject IS NOT NULL BEGIN
    UPDATE referrer_lists SET state = random() WHERE repository = OLD.repository AND subject = OLD.subject;
    DELETE FROM referrer_lists
    WHERE repository = OLD.repository AND subject = OLD.subject
    AND NOT EXISTS (SELECT 1 FROM manifests WHERE repository = OLD.repository AND subject = OLD.subject);
END;
