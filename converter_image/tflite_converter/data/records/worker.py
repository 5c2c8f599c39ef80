"""The process that reads records, confined before it looks at the first byte.

``python -m tflite_converter.data.records.worker FOLDER``: see :mod:`tflite_converter.isolation.child`.
"""

from __future__ import annotations

from tflite_converter.data.records.making import read
from tflite_converter.data.records.messages import READING, ReadingJob, ReadingResult
from tflite_converter.isolation import child
from tflite_converter.isolation.child import Child


def work(job: ReadingJob, process: Child) -> ReadingResult:
    """Write the columns of the records into the process's folder.

    Raises:
        ConverterError: DataUnreadable and the other reasons of data.

    """
    told = [0]
    process.say(job.stage, f"reading {job.name}")

    def tell(done: float) -> None:
        # In words only: a fraction would be taken for that of the whole stage.
        if (tenths := int(done * 10)) > told[-1]:
            told.append(tenths)
            process.say(job.stage, f"reading {job.name}: {tenths * 10}%")

    result = read(job, process.folder, tell=tell)
    return result.model_copy(update={"isolation": process.isolation})


if __name__ == "__main__":
    child.run(READING.name, ReadingJob, lambda job: job.limits, work, child.classified_as(READING.words))
