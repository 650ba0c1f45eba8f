-- As sqlite/0003-layer-digests.sql.
-- The digest of a layer's plain tar, which a product's config has to name (image-spec, "Layer DiffID"); null where the blob
-- could not be read to its end. What was read before this was known is read again.
DELETE FROM layer_facts;
ALTER TABLE layer_facts ADD COLUMN diff_id TEXT COLLATE "C";
