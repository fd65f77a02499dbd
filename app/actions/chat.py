"""What a persona can do in a chatroom. Each docstring is what the model reads."""

from app.actions.registry import ActionSet, Arguments, EndTurn, writes
from app.world import effects
from app.world.effects import Effect
from app.world.text import ChatBody, Id


class Saying(Arguments):
    text: ChatBody
    reply_to: Id | None = None


class MessageRef(Arguments):
    message: Id


class Nothing(Arguments):
    pass


@writes(Saying, ends=True)
def say(given: Saying) -> Effect:
    """Write one message to the room; reply_to: number of the message you answer"""
    return effects.Say(given.reply_to, body=given.text)


@writes(MessageRef)
def like_message(given: MessageRef) -> Effect:
    """Like a message by its number"""
    return effects.LikeMessage(given.message)


@writes(Nothing)
def end_turn(_: Nothing) -> EndTurn:
    """Say nothing now"""
    return EndTurn()


CHAT_ACTIONS = ActionSet([say, like_message, end_turn])
