"""Train the mortgage-denial classifier. Runs in the demo's own environment, not in the product's.

    python docs/demo/train_model.py APPLICATIONS.json mlserver|mlflow FOLDER

Writes the model as that server wants it and prints one JSON line of facts about it.
"""

# mypy: disable-error-code="import-not-found, import-untyped"
# scikit-learn, numpy, pandas and mlflow are installed in the demo's environment only.

from __future__ import annotations

import importlib.metadata
import json
import sys
from operator import methodcaller
from pathlib import Path
from typing import Any

import joblib
import numpy
import pandas
from sklearn.feature_extraction import DictVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import FixedThresholdClassifier, StratifiedKFold, cross_val_predict
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

NOT_FOR_THE_MODEL = "black"
"""Sent with every application, as lenders must report it; deciding by it is forbidden."""


def classifier() -> Pipeline:
    """Logistic regression over a data frame; columns that it was not fitted on are ignored.

    A ColumnTransformer would be the usual first step; it takes 10 ms for one row, four times these.
    """
    return make_pipeline(
        FunctionTransformer(methodcaller("to_dict", orient="records")),
        DictVectorizer(sparse=False),
        StandardScaler(),
        LogisticRegression(max_iter=1000),
    )


def train(table: pandas.DataFrame, denied: numpy.ndarray) -> tuple[Any, dict[str, float | int]]:
    """The classifier, its threshold set so that it denies, out of fold, the share that the banks denied."""
    table = table.drop(columns=NOT_FOR_THE_MODEL)
    pipeline = classifier()
    labels = numpy.where(denied, "denied", "approved")
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    probability = cross_val_predict(pipeline, table, labels, cv=folds, method="predict_proba")[:, 1]
    threshold = float(numpy.quantile(probability, 1 - denied.mean()))
    model = FixedThresholdClassifier(
        pipeline, threshold=threshold, pos_label="denied", response_method="predict_proba"
    ).fit(table, labels)
    return model, {
        "rows": len(table),
        "auc_out_of_fold": round(float(roc_auc_score(denied, probability)), 4),
        "threshold": round(threshold, 4),
        "denied_out_of_fold_ratio": round(float((probability >= threshold).mean()), 4),
    }


def save(model: Any, server: str, folder: Path) -> None:
    """For MLServer a joblib file with its settings, for MLflow a model folder."""
    if server == "mlflow":
        import mlflow

        mlflow.sklearn.save_model(model, folder, serialization_format="cloudpickle", pip_requirements=[])
        return
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    settings = {
        "name": "mortgage",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": "./model.joblib", "version": "1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(settings, indent=2) + "\n")


def main(source: str, server: str, folder: str) -> None:
    rows = json.loads(Path(source).read_text())
    model, facts = train(pandas.DataFrame(rows["applications"]), numpy.array(rows["denied"]))
    save(model, server, Path(folder))
    version = importlib.metadata.version(server)
    print(json.dumps({**facts, "server_version": version}))


if __name__ == "__main__":
    main(*sys.argv[1:])
