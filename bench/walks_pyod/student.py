import numpy as np
from pyod.models.auto_encoder import AutoEncoder
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

pixels, digit = load_digits(return_X_y=True)
order = np.random.default_rng(0).permutation(len(pixels))
pixels, digit = pixels[order] / 16, digit[order]
clf = AutoEncoder(hidden_neuron_list=[64, 4], epoch_num=25, preprocessing=False, verbose=0)
clf.fit(pixels[:1400][digit[:1400] != 9])
print("AUROC", roc_auc_score(digit[1400:] == 9, clf.decision_function(pixels[1400:])))
