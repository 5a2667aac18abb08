"""L5: scikit-learn estimators; they translate arrays and parameters and leave the work to the layers below."""
