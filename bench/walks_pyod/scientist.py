import matplotlib
import pandas as pd
from pyod.models.knn import KNN
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

matplotlib.use("Agg")
import matplotlib.pyplot as plt

orders, new = pd.read_csv("orders.csv"), pd.read_csv("new_orders.csv")
prepare = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["kind"]),
    (make_pipeline(SimpleImputer(), StandardScaler()), ["price", "quantity", "weight"]),
    sparse_threshold=0,
)
clf = KNN(contamination=0.02).fit(prepare.fit_transform(orders))
X_new = prepare.transform(new)
table = new.assign(score=clf.decision_function(X_new), is_anomaly=clf.predict(X_new))
table.to_csv("scores.csv")
print(table.sort_values("score", ascending=False).head(12))
plt.hist(table["score"], 50)
plt.axvline(clf.threshold_)
plt.savefig("scores.png")
