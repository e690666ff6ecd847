import pytest
import requests

from eks_rehearsal.cluster.kube import ApiError, Kube


def answering(monkeypatch, code):
    def refuse(*_, **__):
        response = requests.Response()
        response.status_code, response._content = code, b'{"message": "no"}'
        raise ApiError(response)

    monkeypatch.setattr(Kube, "_ask", refuse)
    return Kube.__new__(Kube)


def test_what_is_gone_need_not_be_changed(monkeypatch):
    assert answering(monkeypatch, 404).patch_present("/api/v1/nodes/ip-1", {}) is None


def test_any_other_refusal_of_a_change_is_an_error(monkeypatch):
    with pytest.raises(ApiError, match="no"):
        answering(monkeypatch, 409).patch_present("/api/v1/nodes/ip-1", {})
