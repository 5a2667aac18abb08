import io

import joblib
import pandas as pd
import uvicorn
from fastapi import FastAPI, Request
from pyod.models.knn import KNN
from sklearn.compose import make_column_transformer
from sklearn.preprocessing import OneHotEncoder, StandardScaler

prepare = make_column_transformer(
    (OneHotEncoder(handle_unknown="ignore"), ["line"]),
    (StandardScaler(), ["length", "width", "weight"]),
    sparse_threshold=0,
)
parts = pd.read_csv("parts.csv")
joblib.dump((prepare.fit(parts), KNN(contamination=0.01).fit(prepare.transform(parts))), "parts.joblib")
prepare, clf = joblib.load("parts.joblib")
app = FastAPI()


@app.post("/score")
async def score(request: Request):
    rows = prepare.transform(pd.read_csv(io.BytesIO(await request.body())))
    return {"score": clf.decision_function(rows).tolist(), "is_anomaly": clf.predict(rows).tolist()}


uvicorn.run(app, port=8000)
