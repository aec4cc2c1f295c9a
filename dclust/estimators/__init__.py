"""scikit-learn faces: the same names, the same meaning, on data of any size."""
