"""A small HTTP API on Powertools for AWS Lambda."""

from aws_lambda_powertools import Logger
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.event_handler.exceptions import NotFoundError

logger = Logger(service="todos")
app = APIGatewayHttpResolver()
todos = {1: "write a function", 2: "run it"}


@app.get("/todos")
def all_todos():
    return {"todos": [{"id": i, "title": t} for i, t in todos.items()]}


@app.get("/todos/<number>")
def one(number: str):
    todo = todos.get(int(number)) if number.isdigit() else None
    if todo is None:
        raise NotFoundError(f"there is no todo {number}")
    return {"id": int(number), "title": todo}


@app.post("/todos")
def add():
    number = max(todos) + 1
    todos[number] = app.current_event.json_body["title"]
    logger.info("added", extra={"number": number})
    return {"id": number}, 201


@logger.inject_lambda_context
def lambda_handler(event, context):
    return app.resolve(event, context)
