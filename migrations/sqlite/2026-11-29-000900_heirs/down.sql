-- The release before knows no heirs, so the grants name them.
UPDATE grants SET
    view_job = COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = grants.secret_id AND h.job = grants.view_job), view_job),
    edit_job = COALESCE((SELECT h.heir FROM heirs h WHERE h.secret_id = grants.secret_id AND h.job = grants.edit_job), edit_job)
WHERE secret_id IN (SELECT secret_id FROM heirs);
DROP TABLE heirs;
