"""Components that several objectives share: requirements, modality groups, heads, teacher."""
