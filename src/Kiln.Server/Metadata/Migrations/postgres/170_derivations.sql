-- What is made of the images of a job beside them (JSON of DerivationPlan); null where nothing is.
ALTER TABLE jobs ADD COLUMN derivations TEXT COLLATE "C";

-- The task of the same job of whose product this one makes something; null where it builds the recipe.
ALTER TABLE job_tasks ADD COLUMN source INTEGER;

-- What was changed where an image was flattened (JSON of FlattenReport).
ALTER TABLE executions ADD COLUMN flattening TEXT COLLATE "C";
