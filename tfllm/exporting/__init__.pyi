from .checking import Report as Report
from .checking import check as check
from .saved_model import export as export
