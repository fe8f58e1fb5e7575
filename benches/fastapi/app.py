"""The upload service as the founding teams wrote it: FastAPI, SQLAlchemy over PostgreSQL, boto3, RS256 tokens.

Only what `make bench` measures: sign an upload (one durable row), confirm it (HEAD on the store, one update), sign a
download. Written the way such services are: an ORM session per request, the blocking SDK call in a thread.
"""

import asyncio
import datetime
import os
import uuid
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

import boto3
import jwt
from botocore.config import Config
from botocore.exceptions import ClientError
from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, DateTime, String, text
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

BUCKET = os.environ["S3_BUCKET"]
PUBLIC_KEY = Path(os.environ["JWT_PUBLIC_KEY_FILE"]).read_text()
CONTENT_TYPES = {"application/pdf", "image/jpeg", "image/png", "text/csv"}
SIZE_BYTES_MAX = 100 * 1024 * 1024
UPLOAD_EXPIRES_SECONDS = 900
DOWNLOAD_EXPIRES_SECONDS = 300

engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://"), pool_size=10, max_overflow=10
)
new_session = async_sessionmaker(engine, expire_on_commit=False)
s3 = boto3.client(
    "s3",
    endpoint_url=os.environ["S3_ENDPOINT"],
    aws_access_key_id=os.environ["S3_ACCESS_KEY"],
    aws_secret_access_key=os.environ["S3_SECRET_KEY"],
    region_name=os.environ["S3_REGION"],
    config=Config(signature_version="s3v4", s3={"addressing_style": "path"}, max_pool_connections=50),
)


class Base(DeclarativeBase):
    pass


class File(Base):
    __tablename__ = "files"

    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    owner: Mapped[str] = mapped_column(String(64), index=True)
    object_key: Mapped[str] = mapped_column(String(1024), unique=True)
    filename: Mapped[str] = mapped_column(String(255))
    content_type: Mapped[str] = mapped_column(String(128))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[str] = mapped_column(String(16), default="pending", index=True)
    etag: Mapped[str | None] = mapped_column(String(64))
    created_at: Mapped[datetime.datetime] = mapped_column(
        DateTime(timezone=True), default=lambda: datetime.datetime.now(datetime.UTC)
    )


@asynccontextmanager
async def lifespan(_app):
    async with engine.begin() as connection:
        # Several workers start at once and only one may create the table.
        await connection.execute(text("select pg_advisory_xact_lock(1)"))
        await connection.run_sync(Base.metadata.create_all)
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


async def session():
    async with new_session() as opened:
        yield opened


def owner(authorization: Annotated[str, Header()]) -> str:
    try:
        token = authorization.removeprefix("Bearer ")
        return jwt.decode(token, PUBLIC_KEY, algorithms=["RS256"], audience="bench")["sub"]
    except jwt.PyJWTError as error:
        raise HTTPException(401, "invalid token") from error


Owner = Annotated[str, Depends(owner)]
Session = Annotated[AsyncSession, Depends(session)]


class SignRequest(BaseModel):
    filename: str = Field(min_length=1, max_length=255)
    content_type: str
    size_bytes: int = Field(gt=0, le=SIZE_BYTES_MAX)


@app.get("/health")
async def health():
    return {"status": "ok"}


@app.post("/uploads", status_code=201)
async def sign(request: SignRequest, user: Owner, db: Session):
    if request.content_type not in CONTENT_TYPES:
        raise HTTPException(415, "content type")
    file_id = uuid.uuid4()
    key = f"uploads/{user}/{file_id}/{request.filename}"
    db.add(
        File(
            id=file_id,
            owner=user,
            object_key=key,
            filename=request.filename,
            content_type=request.content_type,
            size_bytes=request.size_bytes,
        )
    )
    await db.commit()
    url = s3.generate_presigned_url(
        "put_object",
        Params={"Bucket": BUCKET, "Key": key, "ContentType": request.content_type},
        ExpiresIn=UPLOAD_EXPIRES_SECONDS,
    )
    return {"file_id": file_id, "upload_url": url, "expires_in": UPLOAD_EXPIRES_SECONDS}


async def own_file(db: AsyncSession, file_id: uuid.UUID, user: str) -> File:
    file = await db.get(File, file_id)
    if file is None or file.owner != user:
        raise HTTPException(404, "no such file")
    return file


@app.post("/uploads/{file_id}/confirm")
async def confirm(file_id: uuid.UUID, user: Owner, db: Session):
    file = await own_file(db, file_id, user)
    try:
        head = await asyncio.to_thread(s3.head_object, Bucket=BUCKET, Key=file.object_key)
    except ClientError as error:
        raise HTTPException(409, "not uploaded") from error
    if head["ContentLength"] != file.size_bytes:
        raise HTTPException(422, "size")
    file.status, file.etag = "confirmed", head["ETag"]
    await db.commit()
    return {"file_id": file_id, "status": file.status}


@app.get("/files/{file_id}/download")
async def download(file_id: uuid.UUID, user: Owner, db: Session):
    file = await own_file(db, file_id, user)
    url = s3.generate_presigned_url(
        "get_object", Params={"Bucket": BUCKET, "Key": file.object_key}, ExpiresIn=DOWNLOAD_EXPIRES_SECONDS
    )
    return {"download_url": url, "expires_in": DOWNLOAD_EXPIRES_SECONDS}
